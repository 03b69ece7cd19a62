//! Events as batches of the spool, within its limits; and how what may not go out is given up, counted.

use std::collections::BTreeMap;

use candor_policy::digest::Digest;
use candor_wire::statement::SignedStatement;

use super::{Device, Taken};
use crate::encode::{request_of, without};
use crate::error::Error;
use crate::event::Event;
use crate::journal::{GivenUp, Line};
use crate::spool::{Label, Spool};

/// Most bytes of a batch's body before compression.
const MOST_BODY_BYTES: u64 = 64 << 20;
/// Level of zstd: its default.
const LEVEL: i32 = 3;

impl Device {
    pub(super) fn take_now(&mut self, events: &[Event]) -> Result<Taken, Error> {
        let epoch = self.state.epoch;
        if self.state.get(epoch).is_some_and(|known| known.is_closed) {
            return Err(Error::Closed(epoch));
        }
        let head = self.head(epoch);
        let consent = head.map(|head| head.sequence);
        let is_silent = self.state.is_silent;
        let may_send = |event: &&Event| !is_silent && self.settings.purposes.may_send(&event.name, head, head);
        let (sent, kept): (Vec<&Event>, Vec<&Event>) = events.iter().partition(may_send);
        let mut taken = Taken { spooled: 0, dropped: kept.len() as u64 };
        if !kept.is_empty() {
            self.drop_unspooled("no_consent", kept.len() as u64)?;
        }
        let mut chunks: Vec<Vec<&Event>> =
            sent.chunks(self.settings.batch_events.max(1)).rev().map(<[&Event]>::to_vec).collect();
        while let Some(mut chunk) = chunks.pop() {
            let body = request_of(chunk.iter().copied());
            let events = chunk.len() as u64;
            if body.len() <= self.settings.batch_bytes {
                self.spool_batch(epoch, events, consent, &body)?;
                taken.spooled += events;
            } else if events > 1 {
                chunks.push(chunk.split_off(chunk.len() / 2));
                chunks.push(chunk);
            } else {
                self.drop_unspooled("too_large", 1)?;
                taken.dropped += 1;
            }
        }
        Ok(taken)
    }

    /// Drops batches of the spool, counted. What may have left the device keeps its number, which is closed later.
    pub(crate) fn give_up(&mut self, batches: &[(u64, u64)], reason: &str) -> Result<(), Error> {
        if batches.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for at in batches {
            let Some(entry) = self.spool.entries().get(at) else { continue };
            let mut dropped = entry.label.shed.clone();
            *dropped.entry(reason.to_owned()).or_default() += entry.label.events;
            let (mut batch, mut given_up) = (None, None);
            if entry.may_be_out {
                let body = self.spool.body(*at).ok().map(|body| Digest::of_bytes(&body).to_string());
                batch = Some(self.next_number(at.0));
                given_up = Some(GivenUp { events: entry.label.events, reason: reason.to_owned(), body });
            }
            let (epoch, ordinal, taken) = (at.0, Some(at.1), self.taken);
            lines.push(Line { epoch, ordinal, batch, dropped, given_up, taken, ..Line::default() });
        }
        self.journal.append(&lines)?;
        batches.iter().try_for_each(|at| self.spool.settle(*at))
    }

    /// The number that the next batch of an epoch goes out under, or went.
    pub(crate) fn next_number(&self, epoch: u64) -> u64 {
        self.journal.sums.numbers(epoch).last + 1
    }

    /// Drops of a batch what may not be sent under `now`. Whether anything is left.
    pub(crate) fn screen(&mut self, at: (u64, u64), now: Option<&SignedStatement>) -> Result<bool, Error> {
        let Some(entry) = self.spool.entries().get(&at).cloned() else { return Ok(false) };
        let then = entry.label.consent.and_then(|sequence| self.state.get(at.0)?.said_at(sequence));
        if then.map(|then| then.sequence) == now.map(|now| now.sequence) {
            return Ok(true);
        }
        let body = match self.spool.body(at) {
            Err(Error::Damaged { .. }) => return self.give_up(&[at], "damaged").map(|()| false),
            body => unpacked(&body?)?,
        };
        let purposes = &self.settings.purposes;
        let (rest, lost) = without(&body, |event| purposes.may_send(event, then, now)).ok_or(Error::Crypto)?;
        if lost == 0 {
            return Ok(true);
        }
        // What is out already cannot change: all of it counts as dropped, and what the service has of it is found out.
        if lost == entry.label.events || entry.may_be_out {
            return self.give_up(&[at], "withdrawn").map(|()| false);
        }
        let mut label = entry.label;
        label.events -= lost;
        *label.shed.entry("withdrawn".to_owned()).or_default() += lost;
        let body = zstd::encode_all(rest.as_slice(), LEVEL).map_err(|_| Error::Crypto)?;
        self.spool.put(at, label, &body, &*self.world.random)?;
        Ok(true)
    }

    fn spool_batch(&mut self, epoch: u64, events: u64, consent: Option<i64>, body: &[u8]) -> Result<(), Error> {
        let body = zstd::encode_all(body, LEVEL).map_err(|_| Error::Crypto)?;
        let (mut free, mut oldest) = (self.settings.spool_bytes.saturating_sub(self.spool.bytes()), Vec::new());
        let mut by_age: Vec<_> = self.spool.entries().iter().map(|(at, entry)| (at.1, *at, entry.bytes)).collect();
        by_age.sort_unstable();
        for (_, at, bytes) in by_age {
            if free >= Spool::file_bytes(body.len()) {
                break;
            }
            free += bytes;
            oldest.push(at);
        }
        self.give_up(&oldest, "spool_full")?;
        let last = self.spool.entries().keys().map(|(_, ordinal)| ordinal + 1).max().unwrap_or(0);
        let ordinal = last.max(self.journal.sums.next_ordinal());
        let taken = self.taken + events;
        let label = Label { events, shed: BTreeMap::new(), consent, taken };
        self.spool.put((epoch, ordinal), label, &body, &*self.world.random)?;
        self.taken = taken;
        Ok(())
    }

    pub(super) fn drop_unspooled(&mut self, reason: &str, events: u64) -> Result<(), Error> {
        let dropped = BTreeMap::from([(reason.to_owned(), events)]);
        let taken = self.taken + events;
        self.journal.append(&[Line { epoch: self.state.epoch, dropped, taken, ..Line::default() }])?;
        self.taken = taken;
        Ok(())
    }
}

/// A body of the spool as OTLP.
fn unpacked(body: &[u8]) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let decoder = zstd::Decoder::new(body).map_err(|_| Error::Crypto)?;
    #[expect(clippy::disallowed_methods, reason = "capped by `take`")]
    std::io::Read::read_to_end(&mut std::io::Read::take(decoder, MOST_BODY_BYTES), &mut bytes)
        .map_err(|_| Error::Crypto)?;
    Ok(bytes)
}
