//! What the statements of a log say together: which files are live, and whether the statements agree with each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::log::entry::{Entry, Erased, Expired, InForce, KeyChange, KeyEvent, Sealed, Sha256Hex, Totals};

/// A log read from its beginning, entry by entry.
#[derive(Clone, Debug, Default)]
pub struct LiveFiles {
    next: u64,
    live: BTreeMap<u64, Sealed>,
    /// Every file that was ever sealed: path to entry, by table.
    paths: BTreeMap<String, BTreeMap<String, u64>>,
    /// Rows that a successor does not have any more, by its entry, until an erasure names it.
    removed: BTreeMap<u64, u64>,
    policies: Documents,
    catalogues: Documents,
    keys: BTreeMap<String, Generations>,
    totals: Option<Totals>,
    consents: Option<u64>,
}

/// Documents of one kind.
#[derive(Clone, Debug, Default)]
struct Documents {
    every: BTreeSet<Sha256Hex>,
    newest: Option<InForce>,
}

/// Generations of one key.
#[derive(Clone, Debug, Default)]
struct Generations {
    newest: u64,
    destroyed: BTreeSet<u64>,
}

/// A rule that an entry breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rule {
    /// A path of a table names one file for all time.
    #[error("a path is sealed once")]
    PathOnce,
    /// The policy and the catalogue of a file are in the log before it.
    #[error("a file is sealed under a policy and a catalogue that the log has")]
    UnderDocument,
    /// What is replaced or removed is there.
    #[error("what an entry takes away is an earlier file that is live")]
    TakesLive,
    /// Tables do not mix.
    #[error("a file replaces files of its own table")]
    SameTable,
    /// Nor do dates and rules.
    #[error("a file replaces files of its own date, policy and catalogue")]
    SameUnit,
    /// No row appears or vanishes uncounted.
    #[error("a file has the rows of those that it replaces, less the rows removed")]
    Rows,
    /// What is removed as a whole is counted too.
    #[error("an entry counts the rows that it says are gone")]
    Removed,
    /// The files that an erasure wrote are in the log.
    #[error("an erasure names files that replaced others")]
    Successors,
    /// Nothing expires before its time.
    #[error("a file that expired is of an earlier date than the entry says")]
    BeforeDate,
    /// One policy follows another.
    #[error("a document that comes into force is another than the one before it")]
    Succession,
    /// Keys have one history.
    #[error("a key is created once, its generations grow, and each is destroyed once")]
    KeyHistory,
    /// Epochs follow each other.
    #[error("epochs follow each other")]
    Epochs,
}

/// An entry that does not go with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {entry} breaks a rule: {rule}")]
pub struct Broken {
    /// Number of the entry.
    pub entry: u64,
    /// What it breaks.
    pub rule: Rule,
}

impl LiveFiles {
    /// Takes the next entry; where it breaks a rule, nothing of it counts.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), Broken> {
        let taken = match entry {
            Entry::Sealed(sealed) => self.seal(sealed),
            Entry::Policy(document) => self.policies.follow(document),
            Entry::Catalogue(document) => self.catalogues.follow(document),
            Entry::Key(change) => self.key(change),
            Entry::Totals(totals) => self.total(totals),
            Entry::Consents(consents) => {
                let follows = self.consents.is_none_or(|epoch| epoch < consents.epoch);
                require(follows, Rule::Epochs).map(|()| self.consents = Some(consents.epoch))
            }
            Entry::Erased(erased) => self.erase(erased),
            Entry::Expired(expired) => self.expire(expired),
        };
        taken.map_err(|rule| Broken { entry: self.next, rule })?;
        self.next += 1;
        Ok(())
    }

    /// Entries taken: the number of the next one.
    #[must_use]
    pub const fn next(&self) -> u64 {
        self.next
    }

    /// The live files with the numbers of their entries, in order.
    pub fn live(&self) -> impl Iterator<Item = (u64, &Sealed)> {
        self.live.iter().map(|(entry, sealed)| (*entry, sealed))
    }

    /// The file of an entry, if it is live.
    #[must_use]
    pub fn live_file(&self, entry: u64) -> Option<&Sealed> {
        self.live.get(&entry)
    }

    /// The entry that sealed a file of a table, live or not.
    #[must_use]
    pub fn entry_of(&self, table: &str, path: &str) -> Option<u64> {
        self.paths.get(table)?.get(path).copied()
    }

    /// The policy in force.
    #[must_use]
    pub const fn policy(&self) -> Option<&InForce> {
        self.policies.newest.as_ref()
    }

    /// The catalogue in force.
    #[must_use]
    pub const fn catalogue(&self) -> Option<&InForce> {
        self.catalogues.newest.as_ref()
    }

    /// Newest generation of a key; none if the log does not know it.
    #[must_use]
    pub fn generation(&self, usage: &str) -> Option<u64> {
        self.keys.get(usage).map(|generations| generations.newest)
    }

    /// Whether a generation of a key is gone.
    #[must_use]
    pub fn is_destroyed(&self, usage: &str, generation: u64) -> bool {
        self.keys.get(usage).is_some_and(|generations| generations.destroyed.contains(&generation))
    }

    /// Number of the last epoch whose totals are in the log.
    #[must_use]
    pub fn totals_epoch(&self) -> Option<u64> {
        self.totals.as_ref().map(|totals| totals.epoch)
    }

    /// Number of the last epoch whose consents are in the log.
    #[must_use]
    pub const fn consents_epoch(&self) -> Option<u64> {
        self.consents
    }

    fn seal(&mut self, sealed: &Sealed) -> Result<(), Rule> {
        require(self.entry_of(&sealed.table, &sealed.path).is_none(), Rule::PathOnce)?;
        let known = self.policies.every.contains(&sealed.policy) && self.catalogues.every.contains(&sealed.catalogue);
        require(known, Rule::UnderDocument)?;
        if let Some(removed) = sealed.removed {
            let rows = self.rows_of(&sealed.replaces, |old| {
                require(old.table == sealed.table, Rule::SameTable)?;
                let unit = |file: &Sealed| (file.received_date.clone(), file.policy, file.catalogue);
                require(unit(old) == unit(sealed), Rule::SameUnit)
            })?;
            require(rows.checked_sub(removed) == Some(sealed.rows), Rule::Rows)?;
            self.take_away(&sealed.replaces);
            self.removed.insert(self.next, removed);
        }
        self.paths.entry(sealed.table.clone()).or_default().insert(sealed.path.clone(), self.next);
        self.live.insert(self.next, sealed.clone());
        Ok(())
    }

    fn erase(&mut self, erased: &Erased) -> Result<(), Rule> {
        let mut gone = self.rows_of(&erased.files, |_| Ok(()))?;
        for successor in &erased.replaced {
            let removed = self.removed.get(successor).ok_or(Rule::Successors)?;
            gone = gone.checked_add(*removed).ok_or(Rule::Removed)?;
        }
        require(gone == erased.removed, Rule::Removed)?;
        self.take_away(&erased.files);
        for successor in &erased.replaced {
            self.removed.remove(successor);
        }
        Ok(())
    }

    fn expire(&mut self, expired: &Expired) -> Result<(), Rule> {
        let gone = self.rows_of(&expired.files, |old| {
            require(old.table == expired.table, Rule::SameTable)?;
            require(old.received_date < expired.before, Rule::BeforeDate)
        })?;
        // Rows that went out of files which were rewritten count too.
        require(gone <= expired.removed, Rule::Removed)?;
        self.take_away(&expired.files);
        Ok(())
    }

    /// A part follows the part before it and says the same of the epoch; the first comes after the last of an earlier epoch.
    fn total(&mut self, totals: &Totals) -> Result<(), Rule> {
        let follows = match &self.totals {
            Some(last) if last.part < last.parts => {
                let of_epoch = |totals: &Totals| (totals.epoch, totals.parts, totals.hidden, totals.receipts.clone());
                totals.part == last.part + 1 && of_epoch(totals) == of_epoch(last)
            }
            last => totals.part == 1 && last.as_ref().is_none_or(|last| last.epoch < totals.epoch),
        };
        require(follows, Rule::Epochs)?;
        // The cells are not needed to see what follows.
        self.totals = Some(Totals { cells: Vec::new(), ..totals.clone() });
        Ok(())
    }

    fn key(&mut self, change: &KeyChange) -> Result<(), Rule> {
        let newest = self.generation(&change.usage);
        let goes = match change.event {
            KeyEvent::Created => newest.is_none(),
            KeyEvent::Rotated => newest.is_some_and(|newest| newest < change.generation),
            KeyEvent::Destroyed => newest.is_some_and(|newest| change.generation <= newest),
        };
        require(goes, Rule::KeyHistory)?;
        let generations = self.keys.entry(change.usage.clone()).or_default();
        if change.event == KeyEvent::Destroyed {
            return require(generations.destroyed.insert(change.generation), Rule::KeyHistory);
        }
        generations.newest = change.generation;
        Ok(())
    }

    /// Rows of live files, each of which is as it has to be.
    fn rows_of(&self, entries: &[u64], check: impl Fn(&Sealed) -> Result<(), Rule>) -> Result<u64, Rule> {
        let mut rows = 0_u64;
        for entry in entries {
            let file = self.live.get(entry).ok_or(Rule::TakesLive)?;
            check(file)?;
            rows = rows.checked_add(file.rows).ok_or(Rule::Rows)?;
        }
        Ok(rows)
    }

    fn take_away(&mut self, entries: &[u64]) {
        for entry in entries {
            self.live.remove(entry);
        }
    }
}

impl Documents {
    fn follow(&mut self, document: &InForce) -> Result<(), Rule> {
        // Nothing is asked of `since`: clocks go back.
        let follows = self.newest.as_ref().is_none_or(|last| last.digest != document.digest);
        require(follows, Rule::Succession)?;
        self.every.insert(document.digest);
        self.newest = Some(document.clone());
        Ok(())
    }
}

fn require(holds: bool, rule: Rule) -> Result<(), Rule> {
    if holds { Ok(()) } else { Err(rule) }
}
