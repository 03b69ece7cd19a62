//! The bytes of a connection: those that were read to tell HTTP/1.1 from HTTP/2 come first again; reads are noted, and what they cancel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

use crate::connection::{Connection, Version};
use crate::frames::Requests;

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A stream whose first bytes were looked at.
pub(crate) struct Sniffed<S> {
    stream: S,
    first: [u8; PREFACE.len()],
    /// Bytes of `first` that are there, and how many of them were read again.
    have: usize,
    again: usize,
    pub(crate) version: Version,
}

impl<S: AsyncRead + Unpin> Sniffed<S> {
    /// Reads as much as tells the version; none if the client closes before that. The caller sets the time.
    pub(crate) async fn new(mut stream: S) -> io::Result<Option<Self>> {
        let mut first = [0; PREFACE.len()];
        let mut have = 0;
        let version = loop {
            let read = stream.read(&mut first[have..]).await?;
            if read == 0 {
                return Ok(None);
            }
            have += read;
            if !PREFACE.starts_with(&first[..have]) {
                break Version::Http1;
            }
            if have == PREFACE.len() {
                break Version::Http2;
            }
        };
        Ok(Some(Self { stream, first, have, again: 0, version }))
    }

    /// The whole stream, whose reads `connection` hears of; of HTTP/2 it has at most about so many `streams` at a time.
    pub(crate) fn noted(self, connection: Arc<Connection>, streams: u32) -> Noted<S> {
        let requests = (self.version == Version::Http2).then(|| Requests::new(streams));
        Noted { sniffed: self, connection, requests }
    }
}

/// A stream whose reads a connection hears of, and what is cancelled by them: a flood of that ends the stream.
pub(crate) struct Noted<S> {
    sniffed: Sniffed<S>,
    connection: Arc<Connection>,
    /// Those of HTTP/2, the preface being passed over.
    requests: Option<Requests>,
}

impl<S> Noted<S> {
    fn note(&self, cancelled: u32) -> io::Result<()> {
        if cancelled > 0 && self.connection.cancelled(cancelled) {
            return Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the client cancels too many requests"));
        }
        Ok(())
    }

    /// Passes on how a write went, after a look at the bytes that it took.
    fn wrote(&mut self, written: Poll<io::Result<usize>>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let (Poll::Ready(Ok(bytes)), Some(requests)) = (&written, &mut self.requests) else { return written };
        let (mut left, mut cancelled) = (*bytes, 0);
        for slice in slices {
            let taken = left.min(slice.len());
            cancelled += requests.written(&slice[..taken]);
            left -= taken;
        }
        self.note(cancelled)?;
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Noted<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let sniffed = &mut self.sniffed;
        if sniffed.again < sniffed.have {
            let end = sniffed.have.min(sniffed.again + into.remaining());
            into.put_slice(&sniffed.first[sniffed.again..end]);
            sniffed.again = end;
            return Poll::Ready(Ok(()));
        }
        let before = into.filled().len();
        let read = Pin::new(&mut sniffed.stream).poll_read(context, into);
        let new = &into.filled()[before..];
        if !new.is_empty() {
            self.connection.received();
            let cancelled = self.requests.as_mut().map_or(0, |requests| requests.read(new));
            self.note(cancelled)?;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noted<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.sniffed.stream).poll_write(context, bytes);
        self.wrote(written, &[io::IoSlice::new(bytes)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sniffed.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.sniffed.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.sniffed.stream).poll_write_vectored(context, slices);
        self.wrote(written, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.sniffed.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::time::Instant;

    use super::*;
    use crate::settings::Limits;

    /// The version told from bytes that come one by one, and what is read after that.
    async fn through(bytes: &[u8]) -> (Version, Vec<u8>) {
        let (mut client, server) = tokio::io::duplex(64);
        let write = async {
            for byte in bytes {
                client.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let read = async {
            let sniffed = Sniffed::new(server).await.unwrap().unwrap();
            let version = sniffed.version;
            let mut noted = sniffed
                .noted(Connection::new(&Limits::default(), std::net::IpAddr::from([127, 0, 0, 1]), Instant::now()), 64);
            let mut all = Vec::new();
            while noted.read_buf(&mut all).await.unwrap() > 0 {}
            (version, all)
        };
        tokio::join!(write, read).1
    }

    #[tokio::test]
    async fn the_version_is_told_and_no_byte_is_lost() {
        for (bytes, version) in [
            (b"POST /v1/logs HTTP/1.1\r\n\r\n".as_slice(), Version::Http1),
            (b"PRI * HTTP/1.1\r\n".as_slice(), Version::Http1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand frames".as_slice(), Version::Http2),
        ] {
            assert_eq!(through(bytes).await, (version, bytes.to_vec()));
        }
        let (client, server) = tokio::io::duplex(64);
        drop(client);
        assert!(Sniffed::new(server).await.unwrap().is_none());
    }
}
