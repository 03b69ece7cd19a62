//! Sends the job to a running service over keep-alive connections and prints acknowledgement times.
//!
//! `load ADDRESS TOKEN EVENTS SUBJECTS CONNECTIONS [EVENTS_PER_SECOND]`

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candor_bench::{RECORDS, Requests};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args.get(i).map_or(0, |a| a.parse::<usize>().unwrap());
    let (events, subjects, connections, rate) = (number(3), number(4), number(5), number(6));
    let requests = Arc::new(Mutex::new((Requests::new(subjects), events.div_ceil(RECORDS))));
    let start = Instant::now();
    let senders: Vec<_> = (0..connections)
        .map(|_| {
            let (address, token, requests) = (args[1].clone(), args[2].clone(), Arc::clone(&requests));
            let pause = (rate > 0).then(|| Duration::from_secs_f64((RECORDS * connections) as f64 / rate as f64));
            std::thread::spawn(move || send(&address, &token, &requests, pause))
        })
        .collect();
    let mut times: Vec<f64> = senders.into_iter().flat_map(|s| s.join().unwrap()).collect();
    let seconds = start.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    let sent = times.len() * RECORDS;
    println!(
        "{{\"events\":{sent},\"seconds\":{seconds:.3},\"events_per_second\":{:.0},\"ack_ms_p50\":{:.2},\"ack_ms_p99\":{:.2}}}",
        sent as f64 / seconds,
        at(0.5),
        at(0.99)
    );
}

fn send(address: &str, token: &str, requests: &Mutex<(Requests, usize)>, pause: Option<Duration>) -> Vec<f64> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let (mut body, mut times) = (Vec::new(), Vec::new());
    let mut due = Instant::now();
    loop {
        {
            let mut shared = requests.lock().unwrap();
            if shared.1 == 0 {
                return times;
            }
            shared.1 -= 1;
            shared.0.next_body(&mut body);
        }
        if let Some(pause) = pause {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            due += pause;
        }
        let head = format!(
            "POST /v1/logs HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        loop {
            let start = Instant::now();
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&body).unwrap();
            match answer(&mut answers) {
                200 => {
                    times.push(start.elapsed().as_secs_f64() * 1e3);
                    break;
                }
                503 => std::thread::sleep(Duration::from_millis(50)),
                status => panic!("status {status}"),
            }
        }
    }
}

fn answer(from: &mut BufReader<TcpStream>) -> u16 {
    let (mut line, mut status, mut length) = (String::new(), 0, 0);
    loop {
        line.clear();
        from.read_line(&mut line).unwrap();
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
    from.read_exact(&mut body).unwrap();
    status
}
