//! Metrics.

use std::slice::from_ref;

use super::{attribute_as, field, message};

/// Fields of a `Metric` that hold its points, with the field of a point that holds attributes.
const KINDS: [(u32, u32); 5] = [(5, 7), (7, 7), (9, 9), (10, 1), (11, 7)];

pub(super) fn bodies() -> Vec<Vec<u8>> {
    let int = |value: i64| field(6, 1, &value.to_le_bytes());
    let double = |value: f64| field(4, 1, &value.to_le_bytes());
    let point = |fields: &[Vec<u8>]| message(1, fields);
    let (delta, monotonic) = (field(2, 0, &[1]), field(3, 0, &[1]));
    let gauge = |value| message(5, &[point(&[int(value)])]);
    let sum = |fields: &[Vec<u8>]| message(7, fields);
    let mut bodies = vec![
        Vec::new(),
        request(&[gauge(1)]),
        // Pieces of one kind add up; another kind replaces them, and what they said of their points with them.
        request(&[gauge(1), gauge(2)]),
        request(&[gauge(1), sum(&[point(&[int(2)])])]),
        request(&[gauge(1), sum(&[point(&[int(2)])]), gauge(3)]),
        request(&[sum(&[delta.clone(), monotonic.clone()]), sum(&[point(&[int(2)])])]),
        request(&[sum(&[point(&[int(2)])]), sum(from_ref(&delta)), sum(&[field(2, 0, &[2])])]),
        request(&[sum(&[delta.clone(), monotonic.clone()]), gauge(1), sum(&[point(&[int(2)])])]),
        request(&[sum(&[delta, monotonic, point(&[int(1)])]), message(9, &[point(&[])])]),
        request(&[gauge(1), message(5, &[])]),
        request(&[gauge(1), message(11, &[])]),
        // What was replaced must be well-formed all the same.
        request(&[message(5, &[point(&[field(4, 1, &[0; 7])])]), sum(&[point(&[int(2)])])]),
        request(&[message(5, &[point(&[attribute_as(7, "k", &[field(1, 2, &[0xff])])])]), sum(&[])]),
        // The name and unit behind the points; the last ones win.
        message(1, &[message(2, &[message(2, &[gauge(1), field(3, 2, b"By"), field(1, 2, b"memory.used")])])]),
        request(&[gauge(1), field(1, 2, b"car.brake"), field(1, 2, b"queue.length")]),
        // The last of two values wins, whichever kind it is.
        request(&[message(5, &[point(&[int(1), double(2.5)])])]),
        request(&[message(5, &[point(&[double(2.5), int(1)])])]),
        // Metadata, and an exemplar that is not well-formed.
        request(&[attribute_as(12, "k", &[field(1, 2, b"v")]), gauge(1)]),
        request(&[attribute_as(12, "k", &[field(1, 2, &[0xff])]), gauge(1)]),
        request(&[message(5, &[point(&[message(5, &[field(2, 0, &[1])])])])]),
        request(&[message(5, &[point(&[message(5, &[field(3, 1, &[0; 8]), field(6, 1, &[1; 8])])])])]),
        // Fields that a kind does not have are unknown to it; those that it has must have their wire type.
        request(&[message(5, &[field(2, 2, b"x"), point(&[int(1)])])]),
        request(&[sum(&[field(2, 2, b"x"), point(&[int(1)])])]),
        request(&[message(9, &[field(3, 2, b"x"), point(&[])])]),
        request(&[message(11, &[field(2, 2, b"x"), point(&[])])]),
        request(&[sum(&[field(3, 2, b"x")])]),
        request(&[sum(&[field(2, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])])]),
    ];
    bodies.extend(lists());
    for (kind, attributes) in KINDS {
        let point = |fields: &[Vec<u8>]| request(&[message(kind, &[message(1, fields)])]);
        bodies.push(point(&[attribute_as(attributes, "app.package", &[field(1, 2, b"v")])]));
        bodies.push(point(&[attribute_as(attributes, "app.package", &[field(1, 2, &[0xff])])]));
        bodies.push(point(&[field(3, 1, &[1; 8]), field(2, 1, &[1; 8]), field(99, 0, &[1])]));
        // Every field of a point with every wire type.
        for tag in 1..16 {
            for (wire, value) in [(0, &b"\x01"[..]), (1, &[0; 8]), (2, b""), (2, &[1; 8]), (2, &[1; 7]), (5, &[0; 4])] {
                bodies.push(point(&[field(tag, wire, value)]));
            }
        }
    }
    bodies
}

/// Repeated numbers: packed, one by one, mixed, and cut off.
fn lists() -> Vec<Vec<u8>> {
    let histogram = |fields: &[Vec<u8>]| request(&[message(9, &[message(1, fields)])]);
    let exponential = |fields: &[Vec<u8>]| request(&[message(10, &[message(1, fields)])]);
    let eight = |value: u64| field(6, 1, &value.to_le_bytes());
    let packed: Vec<u8> = [1_u64, 2, u64::MAX].iter().flat_map(|value| value.to_le_bytes()).collect();
    let halves: Vec<u8> = [0.5_f64, f64::NAN].iter().flat_map(|value| value.to_le_bytes()).collect();
    vec![
        histogram(&[eight(1), eight(2)]),
        histogram(&[eight(1), field(6, 2, &packed[..16]), eight(2)]),
        histogram(&[field(6, 2, &packed)]),
        histogram(&[field(6, 2, &packed[..15])]),
        histogram(&[field(6, 2, &[])]),
        histogram(&[field(6, 0, &[1])]),
        histogram(&[field(7, 2, &halves), field(7, 1, &[0; 8])]),
        histogram(&[field(7, 5, &[0; 4])]),
        exponential(&[message(8, &[field(2, 2, &[1, 0x80, 0x01, 3]), field(2, 0, &[5])])]),
        exponential(&[message(8, &[field(2, 2, &[1, 0x80])])]),
        exponential(&[message(8, &[field(2, 1, &[0; 8])])]),
        // Pieces of one side: counts add up, the last offset wins; an empty side is there all the same.
        exponential(&[message(8, &[field(1, 0, &[3]), field(2, 0, &[1])]), message(8, &[field(2, 0, &[2])])]),
        exponential(&[message(8, &[field(1, 0, &[3])]), message(8, &[field(1, 0, &[4])])]),
        exponential(&[message(9, &[])]),
        exponential(&[field(8, 0, &[1])]),
        // Zigzag: only the lower 32 bits count.
        exponential(&[field(6, 0, &[0xff, 0xff, 0xff, 0xff, 0x0f])]),
        exponential(&[field(6, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])]),
        exponential(&[field(6, 0, &[0x81, 0x80, 0x80, 0x80, 0x10])]),
        // Flags: the lower 32 bits as well, and the lowest says that there is no value.
        histogram(&[field(10, 0, &[0x81, 0x80, 0x80, 0x80, 0x10]), field(4, 1, &[1; 8])]),
        request(&[message(11, &[message(1, &[message(6, &[field(1, 1, &[1; 8])]), message(6, &[])])])]),
        request(&[message(11, &[message(1, &[message(6, &[field(1, 0, &[1])])])])]),
    ]
}

/// A request of one metric, "memory.used", with these fields besides.
fn request(fields: &[Vec<u8>]) -> Vec<u8> {
    let name = field(1, 2, b"memory.used");
    message(1, &[message(2, &[message(2, &[vec![name], fields.to_vec()].concat())])])
}
