//! Frames of HTTP/2, looked at as far as it takes to see which requests a client cancels before they are answered.
//!
//! hyper drops the handler of a cancelled request, or lets its body or its answer end with an error, or never calls it: no one place of
//! ours hears of all of them. In the bytes of a connection each is one frame (RFC 9113, 6.4).

/// Bytes of a frame before its payload: length (3), type (1), flags (1), stream (4).
const HEAD: usize = 9;
/// A `RST_STREAM` with its payload, which is an error code.
const RESET: usize = HEAD + 4;
/// Streams above the agreed number that may wait for their refusal: more than fit what is read at a time.
const WAITING: usize = 4_096;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const END_STREAM: u8 = 1;

/// Error codes of resets that are no fault: the answer is whole without the rest of the body, or there were too many streams.
const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;

/// The requests of one connection that wait for their answer, told from the bytes that go to and fro.
#[derive(Debug)]
pub(crate) struct Requests {
    read: Frames,
    written: Frames,
    /// Streams whose answer is not written to its end, in order.
    open: Vec<u32>,
    /// The last stream that the client opened.
    last: u32,
    most: usize,
}

impl Requests {
    /// Those of a connection that starts with frames, its preface being passed over.
    pub(crate) fn new(streams: u32) -> Self {
        let most = (streams as usize).saturating_add(WAITING);
        Self { read: Frames::default(), written: Frames::default(), open: Vec::new(), last: 0, most }
    }

    /// The client sent these bytes: how many requests it cancelled with them.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> u32 {
        let Self { read, open, last, most, .. } = self;
        let mut cancelled = 0;
        read.walk(bytes, |frame| match frame.kind {
            HEADERS if frame.stream > *last => {
                *last = frame.stream;
                // Who opens more than anybody answers counts as one who cancels.
                if open.len() < *most { open.push(frame.stream) } else { cancelled += 1 }
            }
            RST_STREAM => cancelled += u32::from(close(open, frame.stream)),
            _ => {}
        });
        cancelled
    }

    /// The service sent these bytes: how many requests it gave up because of what the client sent.
    pub(crate) fn written(&mut self, bytes: &[u8]) -> u32 {
        let Self { written, open, .. } = self;
        let mut cancelled = 0;
        written.walk(bytes, |frame| match frame.kind {
            DATA | HEADERS if frame.flags & END_STREAM != 0 => drop(close(open, frame.stream)),
            RST_STREAM => {
                let was_open = close(open, frame.stream);
                cancelled += u32::from(was_open && ![NO_ERROR, REFUSED_STREAM].contains(&frame.code));
            }
            _ => {}
        });
        cancelled
    }
}

/// Takes a stream out of those that wait; whether it was there.
fn close(open: &mut Vec<u32>, stream: u32) -> bool {
    open.binary_search(&stream).map(|at| open.remove(at)).is_ok()
}

/// What matters of a frame.
#[derive(Clone, Copy)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    /// Why, in a `RST_STREAM`.
    code: u32,
}

/// Where in a sequence of frames the bytes of one direction are.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; RESET],
    /// Bytes of `head` that are there.
    have: usize,
    /// Bytes of a payload that are still to come and tell nothing.
    skip: usize,
}

impl Frames {
    /// Calls `seen` for each frame whose head, or whole if it is a reset, ends in these bytes.
    fn walk(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let wanted = self.wanted();
            let taken = (wanted - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.have == self.wanted() {
                seen(self.frame());
                self.skip = self.length() - (self.have - HEAD);
                self.have = 0;
            }
        }
    }

    /// How much of the frame is to be looked at, as far as that is known.
    fn wanted(&self) -> usize {
        let is_reset = self.have >= HEAD && self.head[3] == RST_STREAM && self.length() >= RESET - HEAD;
        if is_reset { RESET } else { HEAD }
    }

    fn length(&self) -> usize {
        let [high, middle, low, ..] = self.head;
        u32::from_be_bytes([0, high, middle, low]) as usize
    }

    fn frame(&self) -> Frame {
        let [_, _, _, kind, flags, a, b, c, d, code @ ..] = self.head;
        // The first bit of a stream's number is reserved.
        let stream = u32::from_be_bytes([a & 0x7f, b, c, d]);
        Frame { kind, flags, stream, code: u32::from_be_bytes(code) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANCEL: u32 = 8;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    fn reset(stream: u32, code: u32) -> Vec<u8> {
        frame(RST_STREAM, 0, stream, &code.to_be_bytes())
    }

    fn request(stream: u32) -> Vec<u8> {
        [frame(4, 0, 0, &[]), frame(HEADERS, 4, stream, &[0x83, 0x86]), frame(DATA, 0, stream, &[RST_STREAM; 40])]
            .concat()
    }

    #[test]
    fn a_reset_before_the_answer_is_over_counts_however_the_bytes_are_cut() {
        let sent = [request(1), request(3), reset(1, CANCEL), reset(3, NO_ERROR), reset(1, CANCEL), reset(9, CANCEL)];
        let sent = sent.concat();
        for size in 1..=sent.len() {
            let mut requests = Requests::new(64);
            let cancelled: u32 = sent.chunks(size).map(|piece| requests.read(piece)).sum();
            assert_eq!((cancelled, requests.open.len()), (2, 0), "pieces of {size}");
        }
    }

    #[test]
    fn what_ends_as_it_should_does_not_count() {
        let heads = |stream, flags| frame(HEADERS, 4 | flags, stream, &[0x88]);
        let answers = [
            ("headers alone", heads(1, END_STREAM), 0),
            ("a body", [heads(1, 0), frame(DATA, END_STREAM, 1, b"{}")].concat(), 0),
            ("trailers", [heads(1, 0), frame(DATA, 0, 1, b"{}"), heads(1, END_STREAM)].concat(), 0),
            ("an answer before the body was read", [heads(1, END_STREAM), reset(1, NO_ERROR)].concat(), 0),
            ("more streams than agreed", reset(1, REFUSED_STREAM), 0),
            ("a frame that breaks the rules", reset(1, 1), 1),
        ];
        for (what, answer, given_up) in answers {
            let mut requests = Requests::new(64);
            assert_eq!(requests.read(&request(1)), 0, "{what}");
            let written: u32 = answer.iter().map(|byte| requests.written(&[*byte])).sum();
            assert_eq!((written, requests.read(&reset(1, CANCEL))), (given_up, 0), "{what}");
        }
        let mut requests = Requests::new(64);
        requests.read(&request(1));
        requests.written(&[heads(1, 0), frame(DATA, 0, 1, b"half of it")].concat());
        assert_eq!(requests.read(&reset(1, CANCEL)), 1, "in the middle of its answer");
    }

    #[test]
    fn streams_that_nobody_answers_are_not_remembered_without_end() {
        let mut requests = Requests::new(64);
        let cancelled: u32 = (0..10_000).map(|number| requests.read(&request(2 * number + 1))).sum();
        assert_eq!((requests.open.len(), cancelled), (64 + WAITING, 10_000 - 64 - WAITING as u32));
    }
}
