//! Log records.

use std::slice::from_ref;

use super::{array, attribute, field, group, kvlist, message};

pub(super) fn bodies() -> Vec<Vec<u8>> {
    let text = field(1, 2, b"text");
    let (lat, lon) = (kvlist("lat", 1.5), kvlist("lon", 2.5));
    let mut bodies = vec![
        Vec::new(),
        // Pieces of one value: lists add up, another kind between them starts anew, the last kind wins.
        request_of_record(&[attribute("location", &[lat.clone(), lon.clone()])]),
        request_of_record(&[attribute("location", &[[lat.clone(), lon.clone()].concat()])]),
        request_of_record(&[attribute("location", &[lat.clone(), text.clone(), lon.clone()])]),
        request_of_record(&[attribute("location", &[lat.clone(), field(8, 0, &[1]), lon.clone()])]),
        request_of_record(&[attribute("location", &[text.clone(), lat.clone()])]),
        request_of_record(&[attribute("location", &[lat.clone(), field(7, 2, b"bytes")])]),
        request_of_record(&[attribute("location", &[lat.clone(), Vec::new(), lon.clone()])]),
        // Pieces of arrays add up in the same way.
        request_of_record(&[attribute("tags", &[array(b"a"), array(b"b")])]),
        request_of_record(&[attribute("tags", &[[array(b"a"), array(b"b")].concat()])]),
        request_of_record(&[attribute("tags", &[array(b"a"), text.clone(), array(b"b")])]),
        request_of_record(&[attribute("tags", &[array(b"a"), lat.clone(), array(b"b"), array(b"c")])]),
        request_of_record(&[attribute("location", &[array(b"a"), lat, lon])]),
        request_of_record(&[attribute("tags", &[message(5, &[message(1, &[]), field(9, 0, &[1])])])]),
        // Pieces of the body.
        request_of_record(&[message(5, from_ref(&text)), message(5, &[]), message(5, &[field(1, 2, b"last")])]),
        // The last key of an attribute wins.
        request_of_record(&[message(
            6,
            &[field(1, 2, b"undeclared"), field(2, 2, &text), field(1, 2, b"app.package")],
        )]),
        // The resource behind its records, in two pieces.
        message(
            1,
            &[
                message(2, &[message(2, &[field(12, 2, b"car.brake")])]),
                message(1, &[attribute("device.id", from_ref(&text))]),
                message(1, &[message(1, &[field(1, 2, b"device.id"), field(2, 2, &text)])]),
                message(1, &[message(1, &[field(1, 2, b"region"), field(2, 2, &text)])]),
            ],
        ),
        // Over-long numbers: a varint of ten bytes, an enumeration beyond 32 bits, a bool of two.
        request_of_record(&[field(2, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01])]),
        request_of_record(&[field(2, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02])]),
        request_of_record(&[attribute("app.foreground", &[field(2, 0, &[0x80, 0x02])])]),
        // Wrong wire types, tag 0, wire types 6 and 7, a stray end of a group, a length of 2^64 - 1.
        request_of_record(&[field(1, 0, &[1])]),
        request_of_record(&[field(12, 0, &[1])]),
        vec![0x00, 0x00],
        vec![0x0e],
        vec![0x0f],
        field(9, 4, &[]),
        [vec![0x0a], vec![0xff; 9], vec![0x01]].concat(),
        // Not UTF-8 in places that no column reads.
        message(1, &[field(3, 2, &[0xff])]),
        message(1, &[message(2, &[message(1, &[field(1, 2, &[0xc0, 0x80])])])]),
        message(1, &[message(1, &[message(3, &[field(3, 2, &[0xed, 0xa0, 0x80])])])]),
        // Unknown fields of every wire type.
        request_of_record(&[field(99, 0, &[1]), field(99, 1, &[0; 8]), field(99, 2, b"x"), field(99, 5, &[0; 4])]),
        request_of_record(&[field(99, 1, &[0; 7])]),
        // Groups: nested, with another's end, unfinished.
        request_of_record(&[group(77, 3)]),
        [field(7, 3, &[]), field(8, 4, &[])].concat(),
        field(7, 3, &[]),
        [field(7, 3, &[]), field(1, 0, &[1]), field(7, 4, &[])].concat(),
    ];
    bodies.extend(nested());
    bodies.extend(almost_plain());
    bodies
}

/// Attributes as every SDK writes them, and almost so, behind a record whose key is guessed for them.
fn almost_plain() -> Vec<Vec<u8>> {
    let value = |value: &[u8]| field(2, 2, value);
    let text = |text: &[u8]| value(&field(1, 2, text));
    let key = field(1, 2, b"app.package");
    let after_key = |rest: &[u8]| [key.as_slice(), rest].concat();
    let long = |length: usize| after_key(&text(&vec![b'x'; length]));
    let shapes = vec![
        after_key(&text(b"plain")),
        after_key(&text("\u{fc}ber".as_bytes())),
        after_key(&text(b"\xc3")),
        after_key(&text(b"")),
        after_key(&value(&[])),
        after_key(&[]),
        Vec::new(),
        [text(b"value first"), key.clone()].concat(),
        [field(1, 2, b"app.packagE"), text(b"another key")].concat(),
        [field(1, 2, b"app.packag\xff"), text(b"no key")].concat(),
        [after_key(&text(b"one")), text(b"two")].concat(),
        [after_key(&text(b"known")), field(99, 0, &[1])].concat(),
        // Lengths in more bytes than they need, and lengths that end elsewhere.
        after_key(&value(&[0x0a, 0x82, 0x00, b'o', b'k'])),
        after_key(&[0x12, 0x84, 0x00, 0x0a, 0x02, b'o', b'k']),
        [&[0x0a, 0x8b, 0x00], key.split_at(2).1, &text(b"ok")].concat(),
        after_key(&[0x12, 0x05, 0x0a, 0x02, b'o', b'k']),
        after_key(&[0x12, 0x03, 0x0a, 0x02, b'o', b'k']),
        after_key(&value(&[0x0a, 0x03, b'o', b'k'])),
        after_key(&value(&[0x0a, 0x01, b'o', b'k'])),
        after_key(&value(&[0x0a, 0x02, b'o', b'k', 0x18, 0x01])),
        after_key(&value(&[0x0a])),
        after_key(&[0x12]),
        long(125),
        long(127),
        long(128),
        long(16_383),
        long(16_384),
        // Numbers for a field of text are bad values, and must be well-formed all the same.
        after_key(&value(&[0x18, 0x01])),
        after_key(&value(&[[0x18].as_slice(), &[0xff; 9], &[0x01]].concat())),
        after_key(&value(&[[0x18].as_slice(), &[0xff; 9], &[0x02]].concat())),
        after_key(&value(&[0x18])),
        after_key(&value(&[0x10, 0x01])),
        after_key(&value(&[0x10, 0x02])),
        after_key(&value(&field(4, 1, &[0; 8]))),
        after_key(&value(&field(4, 1, &[0; 7]))),
        after_key(&value(&field(4, 5, &[0; 4]))),
    ];
    let name = || field(12, 2, b"phone.app.opened");
    let plain = message(2, &[name(), attribute("app.package", &[field(1, 2, b"plain")])]);
    let second =
        |shape: &Vec<u8>| message(2, &[name(), field(6, 2, shape), attribute("app.foreground", &[vec![0x10, 1]])]);
    shapes.iter().map(|shape| message(1, &[message(2, &[plain.clone(), second(shape)])])).collect()
}

/// Around prost's limit of nesting: groups, arrays and lists.
fn nested() -> Vec<Vec<u8>> {
    let text = field(1, 2, b"text");
    let mut bodies = Vec::new();
    for depth in 90..110 {
        bodies.push(group(7, depth));
        bodies.push(request_of_record(&[group(7, depth)]));
    }
    for depth in 25..55 {
        let mut array = text.clone();
        let mut list = text.clone();
        for _ in 0..depth {
            array = message(5, &[message(1, &[array])]);
            list = message(6, &[message(1, &[message(2, &[list])])]);
        }
        bodies.push(request_of_record(&[message(5, &[array.clone()])]));
        bodies.push(request_of_record(&[attribute("location", &[list])]));
        bodies.push(request_of_record(&[attribute("location", &[array])]));
    }
    // An unknown field in the deepest message that there can be: prost refuses to skip it there.
    for depth in 44..50 {
        let mut array = field(99, 0, &[1]);
        for _ in 0..depth {
            array = message(5, &[message(1, &[array])]);
        }
        bodies.push(request_of_record(&[message(5, &[array])]));
    }
    bodies
}

/// A request of one record, "phone.app.opened", with these fields besides.
fn request_of_record(fields: &[Vec<u8>]) -> Vec<u8> {
    let name = field(12, 2, b"phone.app.opened");
    message(1, &[message(2, &[message(2, &[vec![name], fields.to_vec()].concat())])])
}
