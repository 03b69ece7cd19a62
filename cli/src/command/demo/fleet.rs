//! The sample fleet, inside the binary, so that the demo works anywhere.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use candor_agent::event::{Event, EventLimits, read_events};

use crate::exit::{Exit, Failure};

/// Name of the file that the sample events are written to, beside the fleet's own files.
pub(crate) const EVENTS: &str = "sample.jsonl";

const DEVICE_TOKEN: &str = include_str!("../../../../seeds/fleet/tokens/devices.token");
const BACKEND_TOKEN: &str = include_str!("../../../../seeds/fleet/tokens/backend.token");
const SAMPLE: &str = include_str!("../../../../seeds/events/sample.jsonl");

const FILES: [(&str, &str); 9] = [
    ("catalogue.toml", include_str!("../../../../seeds/fleet/catalogue.toml")),
    ("policy.toml", include_str!("../../../../seeds/fleet/policy.toml")),
    ("sources.toml", include_str!("../../../../seeds/fleet/sources.toml")),
    ("parties.toml", include_str!("../../../../seeds/fleet/parties.toml")),
    ("consent.jsonl", include_str!("../../../../seeds/fleet/consent.jsonl")),
    ("hierarchies/city.csv", include_str!("../../../../seeds/fleet/hierarchies/city.csv")),
    ("tokens/devices.token", DEVICE_TOKEN),
    ("tokens/backend.token", BACKEND_TOKEN),
    (EVENTS, SAMPLE),
];

/// What the demo sends, and by whose tokens.
pub(crate) struct SampleFleet {
    pub(crate) events: Vec<Event>,
    pub(crate) device_token: &'static str,
    pub(crate) backend_token: &'static str,
}

/// Writes the fleet into a new folder.
pub(crate) fn write(folder: &Path) -> Result<SampleFleet, Failure> {
    for (name, text) in FILES {
        let path = folder.join(name);
        write_file(&path, text).map_err(|e| {
            Failure::new(Exit::Failed, format!("{} cannot be written: {e}", path.display()))
                .mend("name another place with --data DIR")
        })?;
    }
    let events = read_events(SAMPLE.as_bytes(), &EventLimits::default())?;
    Ok(SampleFleet { events, device_token: DEVICE_TOKEN.trim(), backend_token: BACKEND_TOKEN.trim() })
}

/// Tokens among them: for the owner's eyes only.
fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())
}
