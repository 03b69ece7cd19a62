//! What a check found: one line each, for people and programs.

use std::fmt::{Display, Formatter};

use serde::Serialize;

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What was looked at.
    pub check: Check,
    /// Which of several: a file, a batch, a document.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub about: Option<String>,
    /// What came of it.
    pub verdict: Verdict,
    /// Under which assumption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assumption: Option<Assumption>,
    /// What is wrong, missing, or how much it is. Never a value of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What came of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It is so, whoever runs the service.
    Proved,
    /// It is so if somebody who has the file recomputed it, and the proof alone cannot tell whether.
    ProvedIfRecomputed,
    /// No proof can show it.
    NotProvable,
    /// What it takes to check it is not there.
    Unchecked,
    /// It is not so.
    Failed,
}

/// What a line rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Assumption {
    /// Order and number of leaves are only seen by whoever has the file.
    FileRecomputed,
    /// The service showed its key itself.
    KeyAtFirstSight,
    /// Nobody kept an earlier checkpoint.
    NoKeptCheckpoint,
    /// No witness is known.
    NoWitness,
    /// No witness says when the checkpoint was new.
    NoTime,
    /// The receipts are the service's own copies.
    ReceiptsFromService,
    /// The subject signs nothing, so no device holds a receipt.
    NoReceipts,
    /// The statements are those that the service shows.
    StatementsFromService,
    /// Whoever asserts a consent can assert it wrongly.
    AssertedByController,
    /// Only the key ring tells which ids belong to a value.
    IdsFromService,
    /// The log has changed tables since the checkpoint that the answer is under.
    AnswerIsOlder,
    /// It is too early: not sealed, or the epoch is not closed.
    NotSealedYet,
    /// A field expired: the hash of the rows cannot be made any more.
    FieldExpired,
    /// An erasure or an expiry is logged that could have taken the rows.
    TakenByLoggedRemoval,
    /// What it is held against is in the bundle too.
    AsTheBundleSays,
    /// That nobody keeps a copy elsewhere, or keeps events back.
    NoOtherCopy,
}

/// What can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// That the evidence itself is whole.
    Bundle,
    /// The key of the log.
    LogKey,
    /// The signed size and root.
    Checkpoint,
    /// That the checkpoint extends the one that was kept.
    Kept,
    /// That a witness saw the same log.
    Witness,
    /// That the entries are those of the checkpoint.
    Entries,
    /// That the entries agree with each other.
    Rules,
    /// That the log is not an old one.
    Fresh,
    /// That every receipt saw the same log.
    ReceiptCheckpoints,
    /// What auditors signed.
    Auditor,
    /// Policies and catalogues.
    Documents,
    /// That there is a proof for each live file of each table.
    Files,
    /// What one file has.
    File,
    /// A file that was recomputed here.
    Recomputed,
    /// That the files of the log are those of its entries.
    Tiles,
    /// That the account of a table is the rows that are there.
    Recount,
    /// That the rows shown are the rows proved.
    Rows,
    /// That each value is there by the rule that is named.
    Reasons,
    /// Rows that are in no file yet.
    Pending,
    /// Whose ids the proofs are about.
    Ids,
    /// That the service answers for whomever it knew.
    Answer,
    /// Signatures of receipts.
    Receipts,
    /// The rows that a receipt names.
    ReceiptRows,
    /// That no receipt is missing.
    ReceiptsComplete,
    /// That the counts of a receipt are in the logged totals.
    Totals,
    /// Cells of totals that the log has as a digest only.
    Opened,
    /// The chain of consent statements.
    Statements,
    /// That a statement is in the log.
    StatementLogged,
    /// That no statement is missing.
    StatementsComplete,
    /// That every row was consented to.
    Consent,
    /// What a certificate of erasure says.
    Certificate,
    /// What lies beyond any proof.
    Beyond,
}

/// What all lines come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing failed, nothing was left out.
    Holds,
    /// Something is not so.
    Failed,
    /// Something could not be checked.
    Unchecked,
}

/// What all lines come to.
#[must_use]
pub fn outcome(lines: &[Line]) -> Outcome {
    let any = |verdict| lines.iter().any(|line| line.verdict == verdict);
    if any(Verdict::Failed) {
        Outcome::Failed
    } else if any(Verdict::Unchecked) || lines.is_empty() {
        Outcome::Unchecked
    } else {
        Outcome::Holds
    }
}

impl Verdict {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::ProvedIfRecomputed => "proved if recomputed",
            Self::NotProvable => "not provable",
            Self::Unchecked => "UNCHECKED",
            Self::Failed => "FAILED",
        }
    }
}

impl Assumption {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::FileRecomputed => {
                "if an auditor recomputed the file: order and number of its leaves are seen by whoever has it"
            }
            Self::KeyAtFirstSight => {
                "the service showed this key itself: compare it with what others see, then give it with --vkey"
            }
            Self::NoKeptCheckpoint => {
                "no earlier checkpoint was kept: a forked log is noticed by nobody who has no checkpoint and no witness"
            }
            Self::NoWitness => {
                "no witness is known: a forked log is noticed by nobody who has no checkpoint and no witness"
            }
            Self::NoTime => "no witness says when: a log that stopped growing looks like one that is withheld",
            Self::ReceiptsFromService => {
                "the receipts are the service's own copies: rows and receipt left out together are noticed by the device that kept it"
            }
            Self::NoReceipts => "the subject does not sign, so no device holds a receipt of what was sent",
            Self::StatementsFromService => {
                "a statement that the service left out is noticed by the device that made it"
            }
            Self::AssertedByController => "consent of an assigned subject is what the controller asserts",
            Self::IdsFromService => "which ids a value has under each key is known by the key ring alone",
            Self::AnswerIsOlder => {
                "files came and went after the checkpoint that the answer is under: ask again for what they have"
            }
            Self::NotSealedYet => "it is in no file or no closed epoch yet: ask again after seal_by",
            Self::FieldExpired => "a field expired as the log says: counted, and its hash cannot be made any more",
            Self::TakenByLoggedRemoval => {
                "the log has an erasure or an expiry that took rows there; whose, a certificate would show"
            }
            Self::AsTheBundleSays => {
                "the bundle says so itself: give --identity, --receipts and --statements of your own"
            }
            Self::NoOtherCopy => {
                "that nobody keeps a copy elsewhere, that devices report everything, and what was read before"
            }
        }
    }
}

impl Check {
    /// For people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Bundle => "the bundle is as it was written",
            Self::LogKey => "the key of the log is the one that is known",
            Self::Checkpoint => "the checkpoint is signed by the log",
            Self::Kept => "the log extends the checkpoint that was kept",
            Self::Witness => "a witness saw the same log",
            Self::Entries => "the entries are those of the checkpoint",
            Self::Rules => "the entries agree with each other",
            Self::Fresh => "the checkpoint is recent",
            Self::ReceiptCheckpoints => "every receipt saw the same log",
            Self::Auditor => "an auditor signed what he recomputed",
            Self::Documents => "policy and catalogue are those of the log",
            Self::Files => "each live file of each table has a proof",
            Self::File => "what the file has of the subject",
            Self::Recomputed => "the file is as it was sealed",
            Self::Tiles => "the files of the log are those of its entries",
            Self::Recount => "the account is the rows that are there, or gone as the log says",
            Self::Rows => "the values shown are those of the rows",
            Self::Reasons => "each value is there by the rule that is named",
            Self::Pending => "rows that are in no file yet",
            Self::Ids => "the proofs are about this subject",
            Self::Answer => "the service answers for whom it knew",
            Self::Receipts => "the receipts are signed by the service",
            Self::ReceiptRows => "the rows are those of the receipt",
            Self::ReceiptsComplete => "no receipt is missing",
            Self::Totals => "the receipt is counted in the logged totals",
            Self::Opened => "the cells of the epoch are those that the log bound",
            Self::Statements => "the consent statements follow each other",
            Self::StatementLogged => "the statement is in the log",
            Self::StatementsComplete => "no statement is missing",
            Self::Consent => "what is stored was consented to",
            Self::Certificate => "the erasure is as its certificate says",
            Self::Beyond => "what no proof can show",
        }
    }
}

impl Display for Line {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.verdict.text(), self.check.text())?;
        for part in
            [self.about.as_deref(), self.why.as_deref(), self.assumption.map(Assumption::text)].into_iter().flatten()
        {
            write!(f, "; {part}")?;
        }
        Ok(())
    }
}

/// Lines as they come.
#[derive(Debug, Default)]
pub(super) struct Lines(Vec<Line>);

impl Lines {
    pub(super) fn proved(&mut self, check: Check, about: Option<String>, why: impl Into<String>) {
        let why = Some(why.into()).filter(|why| !why.is_empty());
        self.0.push(Line { check, about, verdict: Verdict::Proved, assumption: None, why });
    }

    pub(super) fn failed(&mut self, check: Check, about: Option<String>, why: impl Into<String>) {
        self.0.push(Line { check, about, verdict: Verdict::Failed, assumption: None, why: Some(why.into()) });
    }

    pub(super) fn unchecked(&mut self, check: Check, about: Option<String>, why: impl Into<String>) {
        self.0.push(Line { check, about, verdict: Verdict::Unchecked, assumption: None, why: Some(why.into()) });
    }

    pub(super) fn not_provable(&mut self, check: Check, about: Option<String>, assumption: Assumption) {
        let verdict = Verdict::NotProvable;
        self.0.push(Line { check, about, verdict, assumption: Some(assumption), why: None });
    }

    /// What a check proved rests on an assumption all the same.
    pub(super) fn weaken(&mut self, check: Check, assumption: Assumption) {
        for line in self.0.iter_mut().filter(|line| line.check == check && line.verdict == Verdict::Proved) {
            (line.verdict, line.assumption) = (Verdict::NotProvable, Some(assumption));
        }
    }

    pub(super) fn push(&mut self, line: Line) {
        self.0.push(line);
    }

    /// Whether a check has failed so far.
    pub(super) fn has_failed(&self, check: Check) -> bool {
        self.0.iter().any(|line| line.check == check && line.verdict == Verdict::Failed)
    }

    pub(super) fn into_inner(self) -> Vec<Line> {
        self.0
    }
}
