//! `candor completions`: what a shell needs to complete the words of a command line.

use clap::CommandFactory;

use crate::args::{CommandLine, Completions};
use crate::exit::{Exit, Failure};
use crate::render::write_text;

pub(crate) fn run(args: &Completions) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut CommandLine::command(), "candor", &mut script);
    write_text(&script)?;
    Ok(Exit::Done)
}
