//! `candor`: parses the command line, wires the crates, renders the answer.

mod args;
mod cells;
mod command;
mod exit;
mod explain;
mod kept;
mod log_source;
mod progress;
mod render;
mod sample;
mod service;
mod settings;
mod supervisor;
mod witnesses;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;
use tracing_subscriber::EnvFilter;

use crate::args::{Command, CommandLine};
use crate::exit::{Exit, Failure};
use crate::render::tell;
use crate::settings::Settings;

fn main() -> ExitCode {
    let line = match CommandLine::try_parse() {
        Ok(line) => line,
        Err(error) => return misread(&error),
    };
    if let Some(done) = command::alone(&line) {
        return done.map_or_else(|failure| fail(&failure, line.common.asks_for_json()), Into::into);
    }
    match Settings::resolve(&line.common, line.command.flags()) {
        Ok(settings) => run(&line, &settings).map_or_else(|f| fail(&f, settings.answer.format.is_json()), Into::into),
        Err(failure) => fail(&failure, line.common.asks_for_json()),
    }
}

fn fail(failure: &Failure, json: bool) -> ExitCode {
    tell(&failure.text(json));
    failure.exit.into()
}

fn run(line: &CommandLine, settings: &Settings) -> Result<Exit, Failure> {
    for name in &settings.ignored {
        tell(&format!("warning: the variable {name} is no setting and was passed over"));
    }
    if line.common.show_origin {
        settings.origins().print(&settings.answer)?;
        return Ok(Exit::Done);
    }
    log(&line.command)?;
    candor_ingest::process::harden().map_err(|e| exit::with_mend(Exit::Failed, &e.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(Exit::Failed, format!("no threads could be started: {e}")))?;
    runtime.block_on(command::run(&line.command, settings))
}

/// Help and version go to stdout; mistakes to stderr, as JSON where that was asked for.
fn misread(error: &clap::Error) -> ExitCode {
    let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    let words: Vec<_> = std::env::args_os().collect();
    let is_json = |word: &std::ffi::OsString| word == "json" || word == "jsonl";
    let json = words.iter().any(|word| word == "--json" || word == "--format=json" || word == "--format=jsonl")
        || words.windows(2).any(|pair| pair[0] == "--format" && is_json(&pair[1]));
    if json && !asked_for {
        let text = error.render().to_string();
        let (message, hint) = text.trim_start_matches("error: ").split_once("\n\n").unwrap_or((&text, ""));
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        tell(&Failure::usage(words(message)).mend(words(hint)).text(true));
    } else if error.print().is_err() {
        // Nobody is left to be told.
        return Exit::Failed.into();
    }
    if asked_for { Exit::Done.into() } else { Exit::Usage.into() }
}

/// Log lines go to stderr: what `serve` does, and warnings of everything else.
fn log(command: &Command) -> Result<(), Failure> {
    let (level, json) = match command {
        // The libraries beneath tell of every step: theirs is for whoever asks by `CANDOR_LOG`.
        Command::Serve(serve) => ("warn,candor=info,candor_ingest=info,candor_store=info", serve.log_json),
        _ => ("warn", false),
    };
    let filter = match std::env::var("CANDOR_LOG") {
        Ok(text) => EnvFilter::try_new(&text).map_err(|e| {
            Failure::configuration(format!("CANDOR_LOG is not a log filter: {e}")).mend("for example CANDOR_LOG=debug")
        })?,
        Err(_) => EnvFilter::new(level),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let done = if json {
        lines.json().try_init()
    } else {
        lines.with_ansi(anstream::stderr().current_choice() != anstream::ColorChoice::Never).try_init()
    };
    done.map_err(|e| Failure::new(Exit::Failed, format!("the log could not be set up: {e}")))
}
