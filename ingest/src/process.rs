//! What the process as a whole must do so that raw values stay in memory: no core dumps, no panic texts.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Error;

/// Most file descriptors that are asked for: more than connections, segments and tables of one service need.
const ENOUGH_FILES: u64 = 65_536;

/// Call it first thing in a process that will hold raw values. It switches core dumps off (limit 0, and not dumpable,
/// since a `core_pattern` with a pipe ignores the limit), and makes a panic say where it happened and nothing else:
/// the text of a failed slice or `expect` can quote the value at hand.
///
/// # Errors
/// [`Error::CoreDumps`]: do not go on then.
pub fn harden() -> Result<(), Error> {
    no_core_dumps().map_err(|errno| Error::CoreDumps(errno.into()))?;
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        tracing::error!(%place, "a bug was met; the request that met it is told to come again");
    }));
    Ok(())
}

fn no_core_dumps() -> rustix::io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the soft limit of file descriptors as far as is useful, and says what it is now.
pub(crate) fn file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(ENOUGH_FILES);
    let wanted = limit.maximum.unwrap_or(ENOUGH_FILES).min(ENOUGH_FILES);
    if wanted <= current {
        return current;
    }
    // If it cannot be raised, fewer connections are accepted: nothing is lost.
    match setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }) {
        Ok(()) => wanted,
        Err(_) => current,
    }
}

/// The soft and the hard limit of file descriptors.
pub(crate) fn files() -> (u64, u64) {
    let limit = getrlimit(Resource::Nofile);
    (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_dumps_are_off_and_file_limits_only_rise() {
        no_core_dumps().unwrap();
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        let before = getrlimit(Resource::Nofile).current;
        let after = file_limit();
        assert!(before.is_none_or(|before| before <= after));
    }
}
