//! What is known of a group's rows before any purpose looks at them, and the gate that each purpose holds them against.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray};
use hashbrown::HashMap;

use crate::batch::{AdmittedGroup, RawColumn};
use crate::catalogue::Stream;
use crate::consent::ConsentSnapshot;
use crate::plan::{Input, Plan};
use crate::policy::{Age, Jurisdictions, Policy};
use crate::reason::Reason;

/// What a gate looks at: few per batch, so that it is asked once for each and not once a row.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Context {
    /// Index into the batch's subjects.
    pub(super) subject: u32,
    pub(super) jurisdiction: u16,
    pub(super) gpc: bool,
}

/// A group with its contexts, and with what has expired on the day of receipt.
pub(super) struct GroupFacts<'a> {
    pub(super) group: &'a AdmittedGroup,
    pub(super) stream: &'a Stream,
    /// Distinct contexts of the rows.
    pub(super) contexts: Vec<Context>,
    /// Row → context.
    pub(super) context_of: Vec<u32>,
    expired_events: Vec<bool>,
    expired_fields: Vec<bool>,
}

/// A column of a group as an operator or a condition finds it.
pub(super) enum FieldValues<'a> {
    PerRow(ArrayRef),
    PerResource(&'a ArrayRef),
}

impl FieldValues<'_> {
    pub(super) const fn array(&self) -> &ArrayRef {
        match self {
            Self::PerRow(values) => values,
            Self::PerResource(values) => values,
        }
    }
}

impl<'a> GroupFacts<'a> {
    /// `None` for a stream that the catalogue does not have.
    pub(super) fn new(plan: &'a Plan, group: &'a AdmittedGroup, day: i32) -> Option<Self> {
        let stream = plan.catalogue.streams.get(usize::from(group.raw.stream))?;
        let expired = |expires: Option<i32>| expires.is_some_and(|expires| day >= expires);
        let (contexts, context_of) = contexts(group, &plan.policy.jurisdictions);
        Some(Self {
            group,
            stream,
            contexts,
            context_of,
            expired_events: stream
                .events
                .iter()
                .map(|event| expired(stream.expires_day) || expired(event.expires_day))
                .collect(),
            expired_fields: stream.fields.iter().map(|field| expired(field.expires_day)).collect(),
        })
    }

    pub(super) fn rows(&self) -> usize {
        self.group.raw.event.len()
    }

    /// Whether the row's event counts as undeclared by now.
    pub(super) fn has_expired(&self, row: usize) -> bool {
        let event = usize::from(self.group.raw.event.value(row));
        self.expired_events.get(event).copied().unwrap_or(true)
    }

    pub(super) fn expired_rows(&self) -> u64 {
        (0..self.rows()).filter(|row| self.has_expired(*row)).count() as u64
    }

    /// The values of an input; `None` where the field has expired: it is absent for conditions and columns alike.
    pub(super) fn values(&self, input: Input) -> Option<FieldValues<'a>> {
        let group = self.group;
        let Input::Field(field) = input else {
            return Some(FieldValues::PerRow(std::sync::Arc::new(group.raw.time.clone())));
        };
        let field = usize::from(field);
        if self.expired_fields.get(field).copied().unwrap_or(true) {
            return None;
        }
        Some(match group.raw.columns.get(field)? {
            RawColumn::PerRow(values) => FieldValues::PerRow(values.clone()),
            RawColumn::PerResource(values) => FieldValues::PerResource(values),
        })
    }
}

/// One purpose's conditions on a context.
pub(super) struct Gate<'a> {
    pub(super) policy: &'a Policy,
    pub(super) purpose: u16,
    pub(super) consent: &'a ConsentSnapshot,
    /// Day of receipt.
    pub(super) day: i32,
}

impl Gate<'_> {
    /// The first reason for which the purpose may not have rows of this context.
    pub(super) fn refusal(&self, context: Context) -> Option<Reason> {
        let consent = self.consent.of(context.subject as usize);
        if consent.closed() {
            return Some(Reason::NoConsent);
        }
        let state = consent.state(usize::from(self.purpose), self.day);
        let age = if consent.guardian() { Age::Guarded } else { Age::Own(consent.age_from()) };
        self.policy.gate(self.purpose, context.jurisdiction, context.gpc || consent.gpc(), age, state)
    }
}

/// The distinct contexts of a group, and the one of each row.
fn contexts(group: &AdmittedGroup, jurisdictions: &Jurisdictions) -> (Vec<Context>, Vec<u32>) {
    let raw = &group.raw;
    let jurisdiction = numbers(&raw.jurisdiction, jurisdictions);
    let gpc = raw.gpc.array().as_boolean_opt();
    let place = |column: &RawColumn, row: usize| match column {
        RawColumn::PerRow(_) => row,
        RawColumn::PerResource(_) => raw.resource.get(row).map_or(usize::MAX, |resource| *resource as usize),
    };
    let mut contexts: Vec<Context> = Vec::new();
    let mut index: HashMap<Context, u32, foldhash::quality::RandomState> = HashMap::default();
    let mut context_of: Vec<u32> = Vec::with_capacity(group.subject.len());
    let mut last = None;
    for (row, subject) in group.subject.iter().enumerate() {
        let context = Context {
            subject: *subject,
            jurisdiction: jurisdiction.get(place(&raw.jurisdiction, row)).copied().unwrap_or(0),
            gpc: gpc.is_some_and(|gpc| is_on(gpc, place(&raw.gpc, row))),
        };
        // Rows of one device come together.
        let number = match last {
            Some((seen, number)) if seen == context => number,
            _ => *index.entry(context).or_insert_with(|| {
                contexts.push(context);
                contexts.len() as u32 - 1
            }),
        };
        last = Some((context, number));
        context_of.push(number);
    }
    (contexts, context_of)
}

fn is_on(gpc: &BooleanArray, place: usize) -> bool {
    place < gpc.len() && gpc.is_valid(place) && gpc.value(place)
}

/// Number of the jurisdiction for each value of the column; what is no text is `unknown`.
fn numbers(column: &RawColumn, jurisdictions: &Jurisdictions) -> Vec<u16> {
    let Some(values) = column.array().as_string_opt::<i32>() else {
        return Vec::new();
    };
    let mut last: Option<(Option<&str>, u16)> = None;
    let number = |value| match last {
        Some((seen, number)) if seen == value => number,
        _ => {
            let number = jurisdictions.number(value);
            last = Some((value, number));
            number
        }
    };
    values.iter().map(number).collect()
}
