//! `candor config`: the settings, and where each comes from.

use crate::exit::{Exit, Failure};
use crate::settings::Settings;

pub(crate) fn show(settings: &Settings) -> Result<Exit, Failure> {
    settings.origins().print(&settings.answer)?;
    Ok(Exit::Done)
}
