//! Signs of life on long work: on a terminal only, on stderr, gone when the work is.

use std::time::Duration;

use indicatif::ProgressBar;

/// A spinner that clears itself. Off a terminal it draws nothing.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    pub(crate) fn start(message: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(message);
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self(bar)
    }

    pub(crate) fn next(&self, message: &'static str) {
        self.0.set_message(message);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
