//! Signs of life on long work: on a terminal only, on stderr, gone when the work is.

use std::sync::Arc;
use std::time::Duration;

use candor_store::work::Work;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

/// How often a bar looks how far the work is.
const LOOK: Duration = Duration::from_millis(100);

/// A spinner, or a bar where it is known how much there is to do; it clears itself. Off a terminal it draws nothing.
pub(crate) struct Progress {
    bar: ProgressBar,
    watcher: Option<JoinHandle<()>>,
}

/// The bar itself, for whoever learns in another way how far the work is.
#[derive(Clone)]
pub(crate) struct Bar(ProgressBar);

impl Progress {
    pub(crate) fn start(message: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(message);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self { bar, watcher: None }
    }

    pub(crate) fn next(&self, message: &'static str) {
        self.bar.set_message(message);
    }

    /// Shows how far work of the store is, in `units`.
    pub(crate) fn watch(&mut self, work: Arc<Work>, units: &'static str) {
        self.follow(async move |bar: Bar| {
            loop {
                let (done, of) = work.seen();
                bar.show(done, of, units);
                tokio::time::sleep(LOOK).await;
            }
        });
    }

    /// Has somebody move the bar for as long as the work lasts; nobody is asked to off a terminal.
    pub(crate) fn follow<F>(&mut self, mover: impl FnOnce(Bar) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if !self.bar.is_hidden() {
            self.stop();
            self.watcher = Some(tokio::spawn(mover(Bar(self.bar.clone()))));
        }
    }

    /// The bar, for whoever moves it himself.
    pub(crate) fn bar(&self) -> Bar {
        Bar(self.bar.clone())
    }

    fn stop(&mut self) {
        if let Some(watcher) = self.watcher.take() {
            watcher.abort();
        }
    }
}

impl Bar {
    /// `done` of `of` units; `of` is 0 where nobody knows how many there are.
    pub(crate) fn show(&self, done: u64, of: u64, units: &'static str) {
        // A template that cannot be read leaves the spinner as it was.
        if let Ok(style) = ProgressStyle::with_template(&template(done, of, units)) {
            self.0.set_style(style.progress_chars("=> "));
        }
        if of > 0 {
            self.0.set_length(of);
        }
        self.0.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop();
        self.bar.finish_and_clear();
    }
}

/// As indicatif writes it; what is not known is not shown.
fn template(done: u64, of: u64, units: &str) -> String {
    match (of, done) {
        (0, 0) => "{spinner} {msg}".to_owned(),
        (0, _) => format!("{{spinner}} {{msg}}: {{human_pos}} {units}"),
        _ => format!("{{spinner}} {{msg}} [{{bar:30}}] {{human_pos}}/{{human_len}} {units}, {{eta}} left"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_says_how_much_of_how_much_where_that_is_known() {
        assert_eq!(template(0, 0, "files"), "{spinner} {msg}");
        assert_eq!(template(7, 0, "rows"), "{spinner} {msg}: {human_pos} rows");
        assert!(template(0, 9, "files").contains("[{bar:30}] {human_pos}/{human_len} files"));
        for (done, of) in [(0, 0), (1, 0), (1, 2)] {
            assert!(ProgressStyle::with_template(&template(done, of, "files")).is_ok());
        }
        let bar = Bar(ProgressBar::hidden());
        bar.show(3, 10, "files");
        assert_eq!((bar.0.position(), bar.0.length()), (3, Some(10)));
    }
}
