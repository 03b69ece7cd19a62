//! Sends the job as a few devices of one subject each: as it is, or signed and numbered, with every receipt checked after the run.
//!
//! `device ADDRESS TOKEN EVENTS RECORDS DEVICES [FLEET PURPOSE...]`
//!
//! With a fleet, each device has a key of its own, and says first that it gives consent to the purposes. All requests are made before
//! the first is sent: a load that signs while it sends is the slower end, and a service that waits for it is woken for each request.

use std::sync::{Arc, Barrier};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use candor_bench::requests::{Protocol, Requests};
use candor_bench::signed::{Device, Plain, Sender};

/// Requests that a device may send before it says what another one says.
const APART: u64 = 1 << 24;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize| args[i].parse::<usize>().unwrap();
    let (events, records, devices) = (number(3), number(4), number(5));
    let each = events.div_ceil(records * devices);
    let all_prepared = Arc::new(Barrier::new(devices + 1));
    let senders: Vec<_> = (0..devices as u8)
        .map(|which| {
            let (args, all_prepared) = (args.clone(), Arc::clone(&all_prepared));
            std::thread::spawn(move || {
                let (address, token) = (&args[1], &args[2]);
                let mut sender: Box<dyn Sender> = match args.get(6) {
                    Some(fleet) => Box::new(Device::connect((address, token), (fleet, which), &args[7..], now())),
                    None => Box::new(Plain::connect(address, token)),
                };
                let mut requests =
                    Requests::of_device(Protocol::Protobuf, usize::from(which), u64::from(which) * APART, records);
                let mut body = Vec::new();
                let prepared: Vec<Vec<u8>> = (0..each)
                    .map(|_| {
                        requests.next_body(&mut body);
                        sender.prepare(&body, now())
                    })
                    .collect();
                all_prepared.wait();
                for request in prepared {
                    sender.send(&request);
                }
                sender
            })
        })
        .collect();
    all_prepared.wait();
    let start = Instant::now();
    let senders: Vec<_> = senders.into_iter().map(|sender| sender.join().unwrap()).collect();
    let seconds = start.elapsed().as_secs_f64();
    let receipts: usize = senders.iter().map(|sender| sender.check()).sum();
    println!("{{\"events\":{},\"seconds\":{seconds:.3},\"receipts\":{receipts}}}", each * records * devices);
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}
