//! `candor store`: what a service keeps, checked, copied, packed and let go of.

mod files;
mod folder;

use crate::args::Store;
use crate::exit::{Exit, Failure};
use crate::settings::{Flags, Settings};

pub(crate) async fn run(command: &Store, settings: &Settings) -> Result<Exit, Failure> {
    match command {
        Store::Check(_) => folder::check(settings).await,
        Store::Backup(args) => folder::back_up(args, settings).await,
        Store::Restore(args) => folder::restore(args, settings).await,
        Store::Compact(args) => files::compact(args, settings).await,
        Store::Expire(args) => files::expire(args, settings).await,
    }
}

impl Store {
    /// Its flags that are settings.
    pub(crate) fn flags(&self, flags: Flags) -> Flags {
        match self {
            Self::Check(data) => flags.path("data", data.data.as_deref()),
            Self::Backup(args) => flags.path("data", args.data.as_deref()).service(&args.service),
            Self::Restore(args) => flags.path("data", args.data.as_deref()),
            Self::Compact(args) => flags.path("data", args.place.data.as_deref()).service(&args.place.service),
            Self::Expire(args) => flags
                .path("data", args.place.data.as_deref())
                .path("fleet", args.fleet.as_deref())
                .service(&args.place.service),
        }
    }
}
