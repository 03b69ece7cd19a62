//! Settings, resolved: flags, then `CANDOR_*`, the project's file, the user's, the system's, then defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candor_ingest::credential;
use candor_store::settings::WitnessError;
use serde::Deserialize;
use serde_json::json;
use toml::{Table, Value};

use crate::args::{Common, DeviceArg, ServiceArg, UrlArg};
use crate::exit::Failure;
use crate::render::{Format, Report, Target};

/// Most bytes of a settings file that are read.
const FILE_BYTES: u64 = 1 << 20;
/// Settings that have no default.
const WITHOUT_DEFAULT: [&str; 11] = [
    "fleet",
    "url",
    "ca",
    "token_file",
    "identity",
    "grpc",
    "tls.certificate",
    "tls.key",
    "store.key_ring",
    "store.backups",
    "store.log.origin",
];
/// Settings that belong to no crate below.
const OWN: [&str; 8] = ["format", "fleet", "data", "url", "ca", "token_file", "state", "identity"];
/// Settings that are paths: in a file they are relative to that file's folder.
const PATHS: [&str; 11] = [
    "fleet",
    "data",
    "ca",
    "token_file",
    "state",
    "identity",
    "tls.certificate",
    "tls.key",
    "store.key_ring",
    "store.backups",
    "store.log.witness.ca",
];
/// Paths that may name a credential of the service manager.
const SECRETS: [&str; 5] = ["token_file", "identity", "tls.certificate", "tls.key", "store.key_ring"];
/// Variables that begin like settings and are none: the log's filter, and what the tests and benches are told.
const NOT_SETTINGS: [&str; 4] = ["CANDOR_LOG", "CANDOR_TEST_", "CANDOR_SEED", "CANDOR_BENCH_"];

/// What a run goes by.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// How answers are written, and where.
    pub(crate) answer: Target,
    /// Fleet folder.
    pub(crate) fleet: Option<PathBuf>,
    /// Data folder.
    pub(crate) data: PathBuf,
    /// A running service.
    pub(crate) url: Option<String>,
    /// File of the roots that its certificate must lead to, over TLS.
    pub(crate) ca: Option<PathBuf>,
    /// File that holds the token for it.
    pub(crate) token_file: Option<PathBuf>,
    /// State folder of a device.
    pub(crate) state: PathBuf,
    /// File of its identity, where that is kept elsewhere.
    pub(crate) identity: Option<PathBuf>,
    /// The store's own; `store.data` is `data`.
    pub(crate) store: candor_store::settings::Settings,
    /// The service's own.
    pub(crate) service: candor_ingest::settings::Settings,
    origins: BTreeMap<String, (Value, Origin)>,
    /// What was passed over, for a warning.
    pub(crate) ignored: Vec<String>,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    Default,
    File(&'static str, PathBuf),
    Variable(String),
    Flag(String),
}

/// Flags that are settings: (key, value as written).
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags(Vec<(&'static str, String)>);

/// The settings that belong to no crate below; what is left over is the service's.
#[derive(Deserialize)]
struct Own {
    format: Format,
    fleet: Option<PathBuf>,
    data: PathBuf,
    url: Option<String>,
    ca: Option<PathBuf>,
    token_file: Option<PathBuf>,
    state: PathBuf,
    identity: Option<PathBuf>,
}

impl Flags {
    pub(crate) fn text(mut self, key: &'static str, value: Option<&str>) -> Self {
        self.0.extend(value.map(|value| (key, value.to_owned())));
        self
    }

    pub(crate) fn path(self, key: &'static str, value: Option<&Path>) -> Self {
        let text = value.map(|path| path.to_string_lossy().into_owned());
        self.text(key, text.as_deref())
    }

    pub(crate) fn address(self, args: &UrlArg) -> Self {
        self.text("url", args.url.as_deref()).path("ca", args.ca.as_deref())
    }

    pub(crate) fn service(self, args: &ServiceArg) -> Self {
        self.address(&args.address).path("token_file", args.token_file.as_deref())
    }

    pub(crate) fn device(self, args: &DeviceArg) -> Self {
        self.path("state", args.state.as_deref()).path("identity", args.identity.as_deref())
    }
}

impl Settings {
    /// Resolves the settings of this process.
    pub(crate) fn resolve(common: &Common, flags: Flags) -> Result<Self, Failure> {
        let asked = if common.json { Some(Format::Json) } else { common.format };
        let format = match (asked, &common.output) {
            (None, Some(file)) => Format::of_file(file)?,
            (asked, _) => asked,
        };
        let flags = flags.text("format", format.map(Format::name));
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.to_string_lossy().into_owned())));
        let mut settings = Self::layered(&files(common)?, variables, flags)?;
        settings.answer.output.clone_from(&common.output);
        Ok(settings)
    }

    fn layered(
        files: &[(&'static str, PathBuf)],
        variables: impl Iterator<Item = (String, String)>,
        flags: Flags,
    ) -> Result<Self, Failure> {
        let mut layers = Layers::defaults()?;
        for (whose, path) in files {
            layers.file(whose, path)?;
        }
        for (name, value) in variables {
            layers.variable(&name, &value)?;
        }
        for (key, value) in flags.0 {
            let flag = format!("--{}", key.replace('_', "-"));
            layers.text(key, &value, Origin::Flag(flag))?;
        }
        layers.finish()
    }

    /// Each setting, its value and where it comes from.
    pub(crate) fn origins(&self) -> Report {
        let mut report = Report::new("settings").column("setting", "setting").column("value", "value");
        report = report.column("origin", "comes from");
        for (key, (value, origin)) in &self.origins {
            report.row(vec![json!(key), json!(value), json!(origin.to_string())]);
        }
        for key in WITHOUT_DEFAULT.iter().filter(|key| !self.origins.contains_key(**key)) {
            report.row(vec![json!(key), json!(null), json!("not set")]);
        }
        report
    }

    /// The fleet folder.
    pub(crate) fn fleet(&self) -> Result<&Path, Failure> {
        self.fleet.as_deref().ok_or_else(|| {
            Failure::usage("no fleet folder is named")
                .mend("give --fleet DIR, set CANDOR_FLEET, or write `fleet = \"DIR\"` in candor.toml")
        })
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(whose, path) => write!(f, "{whose} file {}", path.display()),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// The settings while they are being merged, by dotted key.
struct Layers {
    values: BTreeMap<String, (Value, Origin)>,
    ignored: Vec<String>,
}

impl Layers {
    /// The defaults also say which settings there are, and of which type.
    fn defaults() -> Result<Self, Failure> {
        let broken = |e: toml::ser::Error| Failure::configuration(format!("the defaults are not TOML: {e}"));
        let mut store = Table::try_from(candor_store::settings::Settings::default()).map_err(broken)?;
        let data = store.remove("data").unwrap_or_else(|| Value::String("candor-data".to_owned()));
        let mut defaults = Table::try_from(candor_ingest::settings::Settings::default()).map_err(broken)?;
        defaults.insert("store".to_owned(), Value::Table(store));
        defaults.insert("data".to_owned(), data);
        defaults.insert("state".to_owned(), Value::String("candor-state".to_owned()));
        defaults.insert("format".to_owned(), Value::String(Format::default().name().to_owned()));
        let mut flat = Vec::new();
        flatten("", defaults, &mut flat);
        let values = flat.into_iter().map(|(key, value)| (key, (value, Origin::Default))).collect();
        Ok(Self { values, ignored: Vec::new() })
    }

    fn file(&mut self, whose: &'static str, path: &Path) -> Result<(), Failure> {
        let Some(text) = read(path)? else { return Ok(()) };
        let table: Table = text
            .parse()
            .map_err(|e: toml::de::Error| Failure::configuration(format!("{} is not TOML: {e}", path.display())))?;
        let mut flat = Vec::new();
        flatten("", table, &mut flat);
        for (key, value) in flat {
            if !self.is_known(&key) {
                return Err(Failure::configuration(format!("{} has an unknown setting `{key}`", path.display()))
                    .mend("`candor config show` lists the settings that there are"));
            }
            let folder = path.parent().unwrap_or_else(|| Path::new(""));
            self.set(&key, relative_to(folder, &key, value), Origin::File(whose, path.to_owned()))?;
        }
        Ok(())
    }

    /// `CANDOR_STORE_FLUSH_SECONDS` is `store.flush_seconds`.
    fn variable(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        if !name.starts_with("CANDOR_") || NOT_SETTINGS.iter().any(|other| name.starts_with(other)) {
            return Ok(());
        }
        let key = self.keys().find(|key| format!("CANDOR_{}", key.replace('.', "_").to_uppercase()) == name);
        if let Some(key) = key {
            return self.text(&key, value, Origin::Variable(name.to_owned()));
        }
        // Not an error: what others call so is not ours to judge.
        self.ignored.push(name.to_owned());
        Ok(())
    }

    /// A value that comes as text takes the type of the default.
    fn text(&mut self, key: &str, text: &str, origin: Origin) -> Result<(), Failure> {
        let value = match self.values.get(key).map(|(default, _)| default) {
            Some(Value::Integer(_)) => text.parse().ok().map(Value::Integer),
            Some(Value::Boolean(_)) => text.parse().ok().map(Value::Boolean),
            _ => Some(Value::String(text.to_owned())),
        };
        let value = value.unwrap_or_else(|| Value::String(text.to_owned()));
        self.set(key, value, origin)
    }

    fn set(&mut self, key: &str, value: Value, origin: Origin) -> Result<(), Failure> {
        let expected = self.values.get(key).map_or("string", |(default, _)| default.type_str());
        if expected != value.type_str() {
            return Err(Failure::configuration(format!("the setting `{key}` ({origin}) must be of type {expected}")));
        }
        self.values.insert(key.to_owned(), (value, origin));
        Ok(())
    }

    fn finish(self) -> Result<Settings, Failure> {
        let mut table = Table::new();
        for (key, (value, origin)) in &self.values {
            let value = match value {
                Value::String(text) if SECRETS.contains(&key.as_str()) => secret(key, text, origin)?,
                other => other.clone(),
            };
            insert(&mut table, key, value);
        }
        let mut store = match table.remove("store") {
            Some(Value::Table(store)) => store,
            _ => Table::new(),
        };
        store.extend(table.get("data").map(|data| ("data".to_owned(), data.clone())));
        let own: Table = OWN.iter().filter_map(|key| Some(((*key).to_owned(), table.remove(*key)?))).collect();
        let own: Own = typed(own)?;
        let store: candor_store::settings::Settings = typed(store)?;
        store.log.witnesses().map_err(|why| self.no_witness(&why))?;
        Ok(Settings {
            answer: Target { format: own.format, output: None },
            fleet: own.fleet,
            data: own.data,
            url: own.url,
            ca: own.ca,
            token_file: own.token_file,
            state: own.state,
            identity: own.identity,
            store,
            service: typed(table)?,
            origins: self.values,
            ignored: self.ignored,
        })
    }

    fn no_witness(&self, why: &WitnessError) -> Failure {
        const KEY: &str = "store.log.witness";
        let origin = self.values.get(KEY).map_or(&Origin::Default, |(_, origin)| origin);
        Failure::configuration(format!("the setting `{KEY}` ({origin}), {why}")).mend(
            "`vkey` is what `candor audit log witness` prints, `url` where that witness is asked, \
                 `ca` a file of roots for https",
        )
    }

    fn keys(&self) -> impl Iterator<Item = String> {
        self.values.keys().map(String::as_str).chain(WITHOUT_DEFAULT).map(str::to_owned)
    }

    fn is_known(&self, key: &str) -> bool {
        self.values.contains_key(key) || WITHOUT_DEFAULT.contains(&key)
    }
}

/// A path of a file, in that file's folder; a credential stays as it is, and so does whatever is no path.
fn relative_to(folder: &Path, key: &str, value: Value) -> Value {
    match value {
        Value::String(text) if PATHS.contains(&key) && !text.starts_with(credential::PREFIX) => {
            Value::String(folder.join(text).to_string_lossy().into_owned())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(|one| relative_to(folder, key, one)).collect()),
        Value::Table(table) => {
            let inner = |(name, value): (String, Value)| {
                let value = relative_to(folder, &format!("{key}.{name}"), value);
                (name, value)
            };
            Value::Table(table.into_iter().map(inner).collect())
        }
        other => other,
    }
}

/// The file of a secret: a credential is looked up, and shown nowhere but as it is written.
fn secret(key: &str, text: &str, origin: &Origin) -> Result<Value, Failure> {
    let found = credential::path(Path::new(""), Path::new(text), credential::directory().as_deref());
    found.map(|path| Value::String(path.to_string_lossy().into_owned())).map_err(|why| {
        Failure::configuration(format!("the setting `{key}` ({origin}): {why}"))
            .mend("start it by its unit, or set CREDENTIALS_DIRECTORY to the folder of the credentials")
    })
}

fn typed<T: serde::de::DeserializeOwned>(table: Table) -> Result<T, Failure> {
    Value::Table(table).try_into().map_err(|e: toml::de::Error| {
        Failure::configuration(format!("the settings do not fit: {}", e.message()))
            .mend("`candor config show` shows each setting and where it comes from")
    })
}

/// The files that may hold settings, the weakest first.
fn files(common: &Common) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
    use etcetera::BaseStrategy;
    let mut files = vec![("system", PathBuf::from("/etc/candor/candor.toml"))];
    // Without a home folder there is no user's file.
    if let Ok(base) = etcetera::choose_base_strategy() {
        files.push(("user", base.config_dir().join("candor").join("candor.toml")));
    }
    match &common.settings {
        Some(path) if !path.is_file() => {
            return Err(Failure::usage(format!("the settings file {} does not exist", path.display())));
        }
        Some(path) => files.push(("settings", path.clone())),
        None => files.push(("project", PathBuf::from("candor.toml"))),
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    let failure = |why: String| Failure::configuration(format!("{} cannot be read: {why}", path.display()));
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failure(e.to_string())),
        Ok(file) if file.len() > FILE_BYTES => Err(failure(format!("it is longer than {FILE_BYTES} bytes"))),
        Ok(_) => std::fs::read_to_string(path).map(Some).map_err(|e| failure(e.to_string())),
    }
}

fn flatten(prefix: &str, table: Table, out: &mut Vec<(String, Value)>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name } else { format!("{prefix}.{name}") };
        match value {
            Value::Table(inner) => flatten(&key, inner, out),
            other => out.push((key, other)),
        }
    }
}

fn insert(table: &mut Table, key: &str, value: Value) {
    match key.split_once('.') {
        None => {
            table.insert(key.to_owned(), value);
        }
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(files: &[(&'static str, PathBuf)], env: &[(&str, &str)], flags: Flags) -> Result<Settings, Failure> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::layered(files, env, flags)
    }

    fn origin<'a>(settings: &'a Settings, key: &str) -> &'a Origin {
        &settings.origins[key].1
    }

    #[test]
    fn the_strongest_layer_wins_and_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let system = file("s.toml", "data = '/s'\nhttp = '127.0.0.1:1'\n[store]\nflush_seconds = 1\nrepeat_hours = 5");
        let project = file("p.toml", "fleet = 'fleet'\nhttp = '127.0.0.1:2'\n[limits]\nrecords = 7");
        let files = [("system", system), ("project", project)];
        let env = [("CANDOR_HTTP", "127.0.0.1:3"), ("CANDOR_STORE_FLUSH_SECONDS", "9"), ("CANDOR_ODD", "1")];
        let settings = resolve(&files, &env, Flags::default().text("http", Some("127.0.0.1:4"))).unwrap();
        assert_eq!(settings.service.http.port(), 4);
        assert_eq!((settings.store.flush_seconds, settings.store.repeat_hours), (9, 5));
        assert_eq!(settings.service.limits.records, 7);
        assert_eq!(settings.store.data, Path::new("/s"));
        assert_eq!(settings.fleet, Some(folder.path().join("fleet")), "relative to the file");
        assert_eq!(settings.ignored, ["CANDOR_ODD"]);
        assert_eq!(*origin(&settings, "http"), Origin::Flag("--http".to_owned()));
        assert_eq!(
            *origin(&settings, "store.flush_seconds"),
            Origin::Variable("CANDOR_STORE_FLUSH_SECONDS".to_owned())
        );
        assert_eq!(*origin(&settings, "store.segment_rows"), Origin::Default);
    }

    fn of_witness(url: &str, ca: &str) -> String {
        let vkey = "witness.example/w1+9d26672a+BEOnLnFEAXYt9mtowm373yaCquyfJHTspGE+QkoPuv08";
        format!("[[store.log.witness]]\nvkey = '{vkey}'\nurl = '{url}'\nca = '{ca}'\n")
    }

    #[test]
    fn the_roots_of_a_witness_are_beside_the_file_that_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("candor.toml");
        std::fs::write(&path, of_witness("https://w.example", "a.pem")).unwrap();
        let settings = resolve(&[("project", path)], &[], Flags::default()).unwrap();
        assert_eq!(settings.store.log.witness[0].ca, Some(folder.path().join("a.pem")));
    }

    #[test]
    fn mistakes_are_named_with_their_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("candor.toml");
        for (text, message) in [
            ("flet = 'x'", "unknown setting `flet`"),
            ("[store]\nflush_seconds = 'soon'", "`store.flush_seconds`"),
            ("data = ", "is not TOML"),
            ("[[store.log.witness]]\nvkey = 'w'\nurl = 'https://w.example'", "candor.toml), witness 1, `vkey`"),
            ("[[store.log.witness]]\nurl = 'https://w.example'", "vkey"),
            (&of_witness("http://w.example", "a.pem"), "witness 1, `ca`"),
            ("[store]\nkey_ring = '$CREDENTIALS_DIRECTORY/../ring'", "names no credential"),
        ] {
            std::fs::write(&path, text).unwrap();
            let failure = resolve(&[("project", path.clone())], &[], Flags::default()).unwrap_err();
            assert!(failure.message.contains(message), "{failure:?}");
        }
        let failure = resolve(&[], &[("CANDOR_LIMITS_RECORDS", "many")], Flags::default()).unwrap_err();
        assert!(failure.message.contains("variable CANDOR_LIMITS_RECORDS"), "{failure:?}");
        let failure = resolve(&[], &[("CANDOR_HTTP", "here")], Flags::default()).unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::BadConfiguration);
    }
}
