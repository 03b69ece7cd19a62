//! HTTP/1.1 over one connection that is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use super::{Answer, Client};

pub(super) struct Http1 {
    stream: TcpStream,
    answers: BufReader<TcpStream>,
    /// Everything before the length.
    head: String,
}

impl Http1 {
    pub(super) fn connect(address: &str, token: &str, media_type: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let answers = BufReader::new(stream.try_clone().unwrap());
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: {media_type}\r\nContent-Length: "
        );
        Self { stream, answers, head }
    }

    fn answer(&mut self) -> u16 {
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            self.answers.read_line(&mut line).unwrap();
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().unwrap();
            }
            if let Some(rest) = text.strip_prefix("content-length:") {
                length = rest.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.answers.read_exact(&mut body).unwrap();
        status
    }
}

impl Client for Http1 {
    fn send(&mut self, body: &mut Vec<u8>) -> Answer {
        let head = format!("{}{}\r\n\r\n", self.head, body.len());
        self.stream.write_all(head.as_bytes()).unwrap();
        self.stream.write_all(body).unwrap();
        match self.answer() {
            200 => Answer::Stored,
            503 => Answer::Again,
            status => panic!("status {status}"),
        }
    }
}
