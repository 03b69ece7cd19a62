//! Spans.

use std::slice::from_ref;

use super::{attribute_as, field, group, message};

pub(super) fn bodies() -> Vec<Vec<u8>> {
    let event = |fields: &[Vec<u8>]| message(11, fields);
    let link = |fields: &[Vec<u8>]| message(13, fields);
    let status = |fields: &[Vec<u8>]| message(15, fields);
    let text = field(1, 2, b"text");
    let mut bodies = vec![
        Vec::new(),
        request(&[]),
        // Pieces of the status: the last code and the last message win, each on its own.
        request(&[status(&[field(3, 0, &[2])]), status(&[field(2, 2, b"why")])]),
        request(&[status(&[field(3, 0, &[2]), field(2, 2, b"why")]), status(&[field(3, 0, &[1])]), status(&[])]),
        request(&[status(&[field(3, 0, &[9])])]),
        request(&[status(&[field(2, 2, &[0xff])])]),
        request(&[status(&[field(1, 0, &[1])])]),
        // Events and links with nothing, with attributes, with the same twice.
        request(&[event(&[]), event(&[])]),
        request(&[event(&[attribute_as(3, "place.name", from_ref(&text))]), event(&[])]),
        request(&[event(&[attribute_as(3, "place.name", from_ref(&text)), attribute_as(3, "place.name", &[])])]),
        request(&[event(&[attribute_as(3, "place.name", &[]), attribute_as(3, "place.name", from_ref(&text))])]),
        request(&[event(&[attribute_as(3, "place.name", &[field(3, 0, &[1])])])]),
        request(&[event(&[attribute_as(3, "place.name", &[field(1, 2, &[0xff])])])]),
        request(&[link(&[attribute_as(4, "duration_ms", &[field(3, 0, &[7])])]), link(&[])]),
        request(&[link(&[attribute_as(4, "duration_ms", from_ref(&text))])]),
        request(&[link(&[field(1, 2, &[0xff; 16]), field(2, 2, &[]), field(3, 2, b"state")])]),
        request(&[link(&[field(3, 2, &[0xff])])]),
        request(&[event(&[field(2, 2, &[0xff])])]),
        // An event's attribute behind another event: each keeps its own.
        request(&[
            event(&[attribute_as(3, "location.lat", &[field(4, 1, &1.5_f64.to_le_bytes())])]),
            link(&[attribute_as(4, "library", from_ref(&text))]),
            event(&[attribute_as(3, "place.name", &[text])]),
        ]),
        // Ids of any length, and text where bytes may be anything.
        request(&[field(1, 2, &[0xff]), field(2, 2, &[]), field(4, 2, &[0; 99])]),
        request(&[field(3, 2, &[0xff])]),
        request(&[field(6, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])]),
        // From start to end, the wrong way round, and too far for an integer.
        request(&[field(7, 1, &9_u64.to_le_bytes()), field(8, 1, &7_u64.to_le_bytes())]),
        request(&[field(7, 1, &1_u64.to_le_bytes()), field(8, 1, &u64::MAX.to_le_bytes())]),
        request(&[field(8, 1, &7_u64.to_le_bytes())]),
        request(&[field(17, 0, &[1]), group(18, 3)]),
        request(&[field(18, 3, &[])]),
    ];
    // Every field of a span, an event, a link and a status with every wire type.
    for tag in 1..18 {
        for (wire, value) in [(0, &b"\x01"[..]), (1, &[0; 8]), (2, b""), (2, &[0xff; 2]), (5, &[0; 4])] {
            let field = field(tag, wire, value);
            bodies.push(request(&[event(from_ref(&field))]));
            bodies.push(request(&[link(from_ref(&field))]));
            bodies.push(request(&[status(from_ref(&field))]));
            bodies.push(request(&[field]));
        }
    }
    bodies
}

/// A request of one span, "call.answered", with these fields besides.
fn request(fields: &[Vec<u8>]) -> Vec<u8> {
    let name = field(5, 2, b"call.answered");
    message(1, &[message(2, &[message(2, &[vec![name], fields.to_vec()].concat())])])
}
