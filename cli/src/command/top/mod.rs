//! `candor top`: what a running service does at the moment, from its `/metrics`.

mod figures;
mod screen;

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use candor_agent::client::Client;
use candor_ingest::exposition::Samples;
use console::Term;

use crate::args::Top;
use crate::exit::{Exit, Failure};
use crate::progress::Progress;
use crate::render::Format;
use crate::service;
use crate::settings::Settings;
use figures::Figures;

pub(crate) async fn run(args: &Top, settings: &Settings) -> Result<Exit, Failure> {
    let mut watch = Watch {
        client: service::public(settings)?,
        url: settings.url.clone().unwrap_or_default(),
        interval: Duration::from_secs(args.interval.into()),
        before: None,
    };
    let target = &settings.answer;
    let live =
        !args.once && target.format == Format::Table && target.output.is_none() && std::io::stdout().is_terminal();
    if live {
        return watch.live().await;
    }
    let progress = Progress::start("measuring");
    watch.next().await?;
    let figures = watch.next().await?;
    drop(progress);
    screen::report(&watch.url, &figures).print(target)?;
    Ok(Exit::Done)
}

struct Watch {
    client: Client,
    url: String,
    interval: Duration,
    before: Option<(Instant, Samples)>,
}

impl Watch {
    /// Draws anew until Ctrl-C. A service that restarts meanwhile is waited for.
    async fn live(&mut self) -> Result<Exit, Failure> {
        let screen = Term::buffered_stdout();
        let failed = |e| Failure::new(Exit::Failed, format!("the terminal cannot be written: {e}"));
        // The first answer says whether there is a service at all.
        self.next().await?;
        screen.hide_cursor().and_then(|()| screen.clear_screen()).map_err(failed)?;
        let outcome = loop {
            let next = tokio::select! {
                next = self.next() => next,
                _ = tokio::signal::ctrl_c() => break Ok(Exit::Done),
            };
            let text = match next {
                Ok(figures) => screen::text(&self.url, &figures),
                Err(failure) => {
                    format!("{}\n\nasking again every {} s\n", failure.text(false), self.interval.as_secs())
                }
            };
            if let Err(error) = draw(&screen, &text) {
                break Err(failed(error));
            }
        };
        // Whatever happened, the cursor comes back.
        let _ = screen.show_cursor().and_then(|()| screen.flush());
        outcome
    }

    /// What happened since the last answer; the first time since the start.
    async fn next(&mut self) -> Result<Figures, Failure> {
        if self.before.is_some() {
            tokio::time::sleep(self.interval).await;
        }
        let samples = service::metrics(&mut self.client).await?;
        let now = Instant::now();
        let (then, before) = self.before.take().unwrap_or_else(|| (now, samples.clone()));
        let figures = Figures::between(&before, &samples, now.duration_since(then).as_secs_f64());
        self.before = Some((now, samples));
        Ok(figures)
    }
}

/// Line by line over what is there: clearing the whole screen first would flicker.
fn draw(screen: &Term, text: &str) -> std::io::Result<()> {
    let plain = anstream::stdout().current_choice() == anstream::ColorChoice::Never;
    let text = if plain { anstream::adapter::strip_str(text).to_string() } else { text.to_owned() };
    let (rows, columns) = screen.size();
    screen.move_cursor_to(0, 0)?;
    for line in text.lines().take(usize::from(rows.saturating_sub(1))) {
        screen.clear_line()?;
        // A line that wraps would push the rest off its place.
        screen.write_line(&console::truncate_str(line, columns.into(), "…"))?;
    }
    screen.clear_to_end_of_screen()?;
    screen.flush()
}
