//! A small blocking HTTP/1.1 client: one connection, what is sent is sent byte for byte.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Most bytes of an answer: the service has no larger ones.
const MAX_ANSWER: u64 = 64 << 20;

/// A client of one service; opens its connection at the first request and again after an error.
pub(crate) struct Client {
    to: SocketAddr,
    token: Option<String>,
    connection: Option<BufReader<TcpStream>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn new(to: SocketAddr, token: Option<&str>) -> Self {
        Self { to, token: token.map(str::to_owned), connection: None }
    }

    /// `POST /v1/logs` in protobuf, as the OpenTelemetry exporters do.
    pub(crate) fn logs(&mut self, body: &[u8]) -> Result<Answer> {
        self.send("POST", "/v1/logs", &[("content-type", "application/x-protobuf")], body)
    }

    /// The same with gzip around the body.
    pub(crate) fn logs_gzip(&mut self, compressed: &[u8]) -> Result<Answer> {
        let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
        self.send("POST", "/v1/logs", &headers, compressed)
    }

    /// `POST` of JSON.
    pub(crate) fn json(&mut self, path: &str, value: &serde_json::Value) -> Result<Answer> {
        self.send("POST", path, &[("content-type", "application/json")], value.to_string().as_bytes())
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        self.send("GET", path, &[], &[])
    }

    /// Any request. An error leaves the client usable: the next request connects again.
    pub(crate) fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
        let mut connection = match self.connection.take() {
            Some(open) => open,
            None => self.connect()?,
        };
        let head = self.head(method, path, headers, body.len());
        let stream = connection.get_mut();
        stream.write_all(head.as_bytes())?;
        // A refusal may come while the body is still on its way: its answer is worth reading all the same.
        let sent = stream.write_all(body);
        let answer = match read_answer(&mut connection, method) {
            Ok(answer) => answer,
            Err(unread) => return Err(sent.err().unwrap_or(unread)),
        };
        let closes = answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        if sent.is_ok() && !closes {
            self.connection = Some(connection);
        }
        Ok(answer)
    }

    /// Requests of one form, sent all at once: their answers in order. What a closed connection leaves unanswered is sent again.
    pub(crate) fn pipeline(&mut self, headers: &[(&str, &str)], requests: &[(String, Vec<u8>)]) -> Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(requests.len());
        while answers.len() < requests.len() {
            let (open, before) = (self.connection.take(), answers.len());
            let fresh = open.is_none();
            let mut connection = open.map_or_else(|| self.connect(), Ok)?;
            let left = requests[before..].iter();
            let bytes =
                left.map(|(path, body)| [self.head("POST", path, headers, body.len()).as_bytes(), body].concat());
            // Whoever is refused for good is closed on: then the rest was for nothing.
            let mut open = connection.get_mut().write_all(&bytes.collect::<Vec<_>>().concat()).is_ok();
            while open && answers.len() < requests.len() {
                let Ok(answer) = read_answer(&mut connection, "POST") else { break };
                open = !answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                answers.push(answer);
            }
            if fresh && answers.len() == before {
                return Err(Error::new(ErrorKind::UnexpectedEof, "a new connection has no answer"));
            }
            self.connection = (open && answers.len() == requests.len()).then_some(connection);
        }
        Ok(answers)
    }

    /// The head of a request whose body would have `length` bytes, and nothing of the body.
    pub(crate) fn announce(&self, path: &str, length: usize) -> Result<Answer> {
        let mut connection = self.connect()?;
        let head = self.head("POST", path, &[("content-type", "application/x-protobuf")], length);
        connection.get_mut().write_all(head.as_bytes())?;
        read_answer(&mut connection, "POST")
    }

    /// A request of whose body of `length` bytes only a part comes.
    pub(crate) fn stall(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        part: &[u8],
        length: usize,
    ) -> Result<Answer> {
        let mut connection = self.connect()?;
        let head = self.head(method, path, headers, length);
        connection.get_mut().write_all(&[head.as_bytes(), part].concat())?;
        read_answer(&mut connection, method)
    }

    fn connect(&self) -> Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.to, Duration::from_secs(5))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        stream.set_write_timeout(Some(Duration::from_mins(1)))?;
        Ok(BufReader::new(stream))
    }

    fn head(&self, method: &str, path: &str, headers: &[(&str, &str)], length: usize) -> String {
        let mut lines = vec![format!("{method} {path} HTTP/1.1"), format!("host: {}", self.to)];
        lines.push(format!("content-length: {length}"));
        lines.extend(self.token.as_ref().map(|token| format!("authorization: Bearer {token}")));
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
        lines.join("\r\n") + "\r\n\r\n"
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The same answer, if its status is the one expected.
    #[track_caller]
    pub(crate) fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

fn read_answer(from: &mut BufReader<TcpStream>, method: &str) -> Result<Answer> {
    let line = read_line(from)?;
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| Error::new(ErrorKind::InvalidData, "no status line"))?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(from)?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = read_chunks(from)?;
    } else if let Some(length) = answer.header("content-length").and_then(|length| length.parse::<u64>().ok())
        && method != "HEAD"
    {
        from.take(length.min(MAX_ANSWER)).read_to_end_capped(&mut answer.body)?;
    }
    Ok(answer)
}

fn read_line(from: &mut BufReader<TcpStream>) -> Result<String> {
    let mut line = String::new();
    if from.take(65_536).read_line(&mut line)? == 0 {
        return Err(Error::new(ErrorKind::UnexpectedEof, "the connection was closed"));
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}

fn read_chunks(from: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = read_line(from)?;
        let size = u64::from_str_radix(&size, 16).map_err(|_| Error::new(ErrorKind::InvalidData, "no chunk size"))?;
        from.take(size.min(MAX_ANSWER)).read_to_end_capped(&mut body)?;
        read_line(from)?;
        if size == 0 {
            return Ok(body);
        }
    }
}

trait ReadCapped {
    fn read_to_end_capped(self, into: &mut Vec<u8>) -> Result<()>;
}

impl<R: Read> ReadCapped for std::io::Take<R> {
    #[expect(clippy::disallowed_methods, reason = "capped by the `take` that it is called on")]
    fn read_to_end_capped(mut self, into: &mut Vec<u8>) -> Result<()> {
        let wanted = self.limit();
        let got = self.read_to_end(into)?;
        if (got as u64) < wanted {
            return Err(Error::new(ErrorKind::UnexpectedEof, "the answer was cut"));
        }
        Ok(())
    }
}
