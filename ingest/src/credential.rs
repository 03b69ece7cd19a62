//! Secrets that the service manager hands over: files under `$CREDENTIALS_DIRECTORY` (systemd's `LoadCredential=`).

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// How a path begins that names a credential.
pub const PREFIX: &str = "$CREDENTIALS_DIRECTORY";

/// The file that `written` names: a credential, or a path as it stands, relative to `folder`.
///
/// # Errors
/// If it names a credential, and none were handed over or the name would leave their folder.
pub fn path(folder: &Path, written: &Path, credentials: Option<&OsStr>) -> Result<PathBuf, String> {
    let Ok(name) = written.strip_prefix(PREFIX) else { return Ok(folder.join(written)) };
    let plain = name.components().all(|part| matches!(part, Component::Normal(_)));
    if name.as_os_str().is_empty() || !plain {
        return Err(format!("{} names no credential: write {PREFIX}/NAME", written.display()));
    }
    let credentials = credentials.filter(|folder| !folder.is_empty()).ok_or_else(|| {
        format!(
            "{} cannot be found: this process was given no credentials, LoadCredential= of its unit does that",
            written.display()
        )
    })?;
    Ok(Path::new(credentials).join(name))
}

/// The folder of this process's credentials, if it was given any.
#[must_use]
pub fn directory() -> Option<std::ffi::OsString> {
    std::env::var_os("CREDENTIALS_DIRECTORY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_found_by_name_and_nothing_outside_its_folder() {
        let found = |written: &str, credentials: Option<&str>| {
            path(Path::new("fleet"), Path::new(written), credentials.map(OsStr::new))
        };
        let run = Some("/run/credentials/candor.service");
        assert_eq!(found("tokens/a", run), Ok(PathBuf::from("fleet/tokens/a")));
        assert_eq!(found("/etc/a", None), Ok(PathBuf::from("/etc/a")));
        let token = "$CREDENTIALS_DIRECTORY/devices.token";
        assert_eq!(found(token, run), Ok(PathBuf::from("/run/credentials/candor.service/devices.token")));
        assert!(found(token, None).unwrap_err().contains("LoadCredential"));
        assert!(found(token, Some("")).is_err());
        for bad in ["$CREDENTIALS_DIRECTORY", "$CREDENTIALS_DIRECTORY/../shadow"] {
            assert!(found(bad, run).is_err(), "{bad}");
        }
    }
}
