//! The one message of a unary gRPC call: five bytes say whether it is compressed and how long it is, and nothing comes after it.

/// gRPC writes before each message whether it is compressed (1), and its length (4).
const PREFIX: usize = 5;

/// A message while its bytes come, however they are cut.
#[derive(Debug)]
pub(crate) struct Framing {
    most: usize,
    prefix: Vec<u8>,
    taken: usize,
}

/// What is wrong with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// It says that it is longer than is allowed.
    TooLong,
    /// There are bytes behind its message.
    TooMuch,
    /// Its message is shorter than it says, or there is none.
    TooLittle,
    /// Whether it is compressed is told by a byte that nobody knows.
    Flag,
}

impl Framing {
    /// A message of at most `most` bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, prefix: Vec::with_capacity(PREFIX), taken: 0 }
    }

    /// What the next bytes of the body have of the message. A length beyond the limit is refused before a byte of it.
    pub(crate) fn next<'d>(&mut self, data: &'d [u8]) -> Result<&'d [u8], Broken> {
        let of_prefix = (PREFIX - self.prefix.len()).min(data.len());
        let (head, rest) = data.split_at(of_prefix);
        self.prefix.extend_from_slice(head);
        let Some(length) = self.length() else { return Ok(rest) };
        if length > self.most {
            return Err(Broken::TooLong);
        }
        if rest.len() > length - self.taken {
            return Err(Broken::TooMuch);
        }
        self.taken += rest.len();
        Ok(rest)
    }

    /// Whether the message is compressed, once the body has ended.
    pub(crate) fn end(&self) -> Result<bool, Broken> {
        if self.length() != Some(self.taken) {
            return Err(Broken::TooLittle);
        }
        match self.prefix.first() {
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            _ => Err(Broken::Flag),
        }
    }

    /// The length in a complete prefix.
    fn length(&self) -> Option<usize> {
        let length = self.prefix.get(1..PREFIX)?.first_chunk::<4>()?;
        Some(u32::from_be_bytes(*length) as usize)
    }
}
