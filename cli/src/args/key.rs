//! The command line of keys.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{DataArg, ServiceArg};

/// `candor key`
#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// List the keys: what each is for, its generations, and since when; never a secret
    #[command(after_help = "\
Examples:
  candor key list --data /var/lib/candor
  candor key list --data /var/lib/candor --json

Works beside a running service.")]
    List(DataArg),
    /// Make a key that operators of a policy can name
    #[command(after_help = "\
Examples:
  candor key new research --data /var/lib/candor
  candor key new research --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token

Keys that a policy names are made by the start of its service: this makes one before that.")]
    New {
        /// Name of the key, as in `hmac(key = NAME)`
        name: String,
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Go on with another generation of a key
    #[command(after_help = "\
Examples:
  candor key rotate subject --data /var/lib/candor
  candor key rotate named/analytics --url http://127.0.0.1:4318 --token-file seeds/fleet/tokens/backend.token
  candor key rotate receipts --data /var/lib/candor

subject       Rows from now on have other pseudonyms; access and erasure look under the old ones too.
named/NAME    What `hmac` and `fpe_ff1` write from now on does not match what they wrote before.
receipts      The old key signs the new one and is destroyed; devices follow by that signature.
log           Both keys sign checkpoints until the old one is destroyed; its entry names the new one.
The keys ledger, repeats and tombstone do not rotate: what they made has to be found again.")]
    Rotate {
        /// subject, receipts, log or named/NAME
        key: String,
        #[command(flatten)]
        place: KeyPlace,
    },
    /// Destroy generations of a key for good
    #[command(after_help = "\
Examples:
  candor key destroy named/analytics --generation 1 --yes --data /var/lib/candor
  candor key destroy named/analytics --yes --data /var/lib/candor
  candor key destroy subject --generation 1 --yes --data /var/lib/candor

named/NAME    Nobody can match its pseudonyms with identifiers any more, or undo fpe_ff1; rows stay.
              Where the policy names the key, the service goes on with a new one.
subject       Rows under that generation stay, and nobody can find whose they are: neither access nor
              erasure reaches them. Wait until they expired.
log           Checkpoints are signed by the newer keys alone: whoever pinned the old one needs them.
Backups of the key ring still have it: destroy those too.")]
    Destroy {
        /// named/NAME, subject or log
        key: String,
        /// The generation; without it all of them
        #[arg(long, value_name = "N")]
        generation: Option<u64>,
        /// It cannot be undone: say that it is meant
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        place: KeyPlace,
    },
}

/// Where a key is changed.
#[derive(Debug, Default, Args)]
pub(crate) struct KeyPlace {
    #[command(flatten)]
    pub(crate) service: ServiceArg,
    /// Data folder that no service uses, instead of --url
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    pub(crate) data: Option<PathBuf>,
}
