//! Sends the job to a running service over connections that are kept, and prints acknowledgement times.
//!
//! `load PROTOCOL ADDRESS TOKEN EVENTS SUBJECTS CONNECTIONS [EVENTS_PER_SECOND [FIRST_REQUEST]]`
//!
//! With a rate, each request has its time: what is sent late, because the answer before it was, waits from that time on.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use candor_bench::RECORDS;
use candor_bench::client::{Answer, connect};
use candor_bench::requests::{Protocol, Requests};

/// Before a request that was told to come again does.
const PAUSE: Duration = Duration::from_millis(50);

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args.get(i).map_or(0, |a| a.parse::<usize>().unwrap());
    let protocol: Protocol = args[1].parse().unwrap();
    let (events, subjects, connections, rate, first) = (number(4), number(5), number(6), number(7), number(8));
    let requests = Requests::new(protocol, subjects, first as u64);
    let left = Arc::new(Mutex::new((requests, events.div_ceil(RECORDS))));
    let start = Instant::now();
    let senders: Vec<_> = (0..connections)
        .map(|number| {
            let (address, token, left) = (args[2].clone(), args[3].clone(), Arc::clone(&left));
            let every = (rate > 0).then(|| Duration::from_secs_f64((RECORDS * connections) as f64 / rate as f64));
            let schedule =
                every.map(|every| Schedule { due: start + every.mul_f64(number as f64 / connections as f64), every });
            std::thread::spawn(move || send(protocol, &address, &token, &left, schedule))
        })
        .collect();
    let (mut times, mut again) = (Vec::new(), 0);
    for sender in senders {
        let (took, told) = sender.join().unwrap();
        times.extend(took);
        again += told;
    }
    report(times, start.elapsed().as_secs_f64(), again);
}

/// When a connection sends.
struct Schedule {
    due: Instant,
    every: Duration,
}

/// Sends until nothing is left; how long each acknowledgement took, in ms, and how often the answer was to come again.
fn send(
    protocol: Protocol,
    address: &str,
    token: &str,
    left: &Mutex<(Requests, usize)>,
    mut schedule: Option<Schedule>,
) -> (Vec<f64>, u64) {
    let mut client = connect(protocol, address, token);
    let (mut body, mut times, mut again) = (Vec::new(), Vec::new(), 0);
    loop {
        {
            let mut left = left.lock().unwrap();
            if left.1 == 0 {
                return (times, again);
            }
            left.1 -= 1;
            left.0.next_body(&mut body);
        }
        let start = match &mut schedule {
            None => Instant::now(),
            Some(schedule) => {
                std::thread::sleep(schedule.due.saturating_duration_since(Instant::now()));
                let due = schedule.due;
                schedule.due += schedule.every;
                due
            }
        };
        while client.send(&mut body) == Answer::Again {
            again += 1;
            std::thread::sleep(PAUSE);
        }
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
}

fn report(mut times: Vec<f64>, seconds: f64, again: u64) {
    times.sort_by(f64::total_cmp);
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    let sent = times.len() * RECORDS;
    let rate = sent as f64 / seconds;
    let (p50, p99, worst) = (at(0.5), at(0.99), at(1.0));
    println!(
        "{{\"events\":{sent},\"seconds\":{seconds:.3},\"events_per_second\":{rate:.0},\"ack_ms_p50\":{p50:.2},\
         \"ack_ms_p99\":{p99:.2},\"ack_ms_max\":{worst:.2},\"told_to_come_again\":{again}}}"
    );
}
