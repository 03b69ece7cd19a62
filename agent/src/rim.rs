//! What a device meets of the world, as arguments: time, randomness, and the way to its service. The real ones are here too.

use std::future::Future;

use bytes::Bytes;
use http::{Request, Response};
use ring::rand::{SecureRandom, SystemRandom};

use crate::error::Error;

/// Where the time comes from. It may jump as it likes: see [`crate::device::Device`].
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Microseconds since 1970-01-01 UTC.
    fn now(&self) -> i64;
}

/// Where randomness comes from.
pub trait Random: Send + Sync + std::fmt::Debug {
    /// Fills all of it.
    ///
    /// # Errors
    /// [`Error::NoRandomness`] if there is none to be had.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error>;
}

/// The way to one service. A request has its method, its path with query, every header that is signed and a body; authority,
/// token and the like are the transport's to add.
pub trait Transport {
    /// What the service sees as `Host`, in lower case and without the port that the scheme has anyway: it is signed.
    fn authority(&self) -> &str;

    /// What stands before every path: empty, or like `/in`.
    fn base(&self) -> &str;

    /// One request and its answer. Any status is an answer.
    ///
    /// # Errors
    /// [`Error::Unreachable`] and the like if there is none: the request may have arrived.
    fn exchange(&mut self, request: Request<Bytes>) -> impl Future<Output = Result<Response<Bytes>, Error>> + Send;

    /// The next request is to go over a connection of its own, so that it shows no tie to the ones before.
    fn part(&mut self);
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place of the device that reads the wall clock")]
    fn now(&self) -> i64 {
        jiff::Timestamp::now().as_microsecond()
    }
}

/// The operating system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Random for SystemEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        SystemRandom::new().fill(bytes).map_err(|_| Error::NoRandomness)
    }
}

/// A number below `end`, for what must spread and need not be secret: the bias of 2^64 over any `end` here is nothing.
pub(crate) fn below(random: &dyn Random, end: u64) -> Result<u64, Error> {
    let mut bytes = [0; 8];
    random.fill(&mut bytes)?;
    Ok(u64::from_be_bytes(bytes) % end.max(1))
}
