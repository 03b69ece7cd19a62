//! CloudEvents: the three ways in which an event comes.

use candor_wire::cloudevents::{decode_batch, decode_binary, decode_structured};
use candor_wire::otlp::{DecodeError, DecodeLimits};

use crate::expected::row;
use crate::fleet::{Row, keys, rows};

const SUBJECT: &str = "attributes.subject";

fn structured(body: &str) -> Result<Vec<Row>, DecodeError> {
    decode_structured(body.as_bytes(), &keys(SUBJECT), &DecodeLimits::default()).map(|decoded| rows(&decoded))
}

fn event(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"A-1","source":"/shop","type":"com.example.order"{members}}}"#)
}

#[test]
fn a_structured_event_has_its_context_and_its_data_as_attributes() {
    let body = event(
        r#","time":"2026-11-22T17:21:31.5Z","subject":"u-1","sampledrate":10,"comexampleother":true,"datacontenttype":"application/json",
            "data":{"order":{"total":12.5,"id":7},"items":["milk",null,"bread"],"place":{"lat":48.1,"lon":11.5}}"#,
    );
    let decoded = decode_structured(body.as_bytes(), &keys(SUBJECT), &DecodeLimits::default()).unwrap();
    let expected = row(&[
        ("event", "com.example.order"),
        ("time", "1795368091500000"),
        ("id", "5:/shopA-1"),
        ("source", "/shop"),
        ("about", "u-1"),
        ("subject", "u-1"),
        ("sampled", "10"),
        ("total", "12.5"),
        ("items", "milk,null,bread"),
        ("place", "48.1,11.5"),
    ]);
    assert_eq!(rows(&decoded), [expected]);
    // `comexampleother` and `data.order.id`; what every event has is none of them.
    assert_eq!(decoded.received.tally().undeclared_attributes, 2);
    assert!(!format!("{decoded:?}").contains("A-1"));
}

#[test]
fn the_order_of_members_means_nothing() {
    let body = r#"{"data":{"order":{"total":1}},"type":"com.example.order","time":null,"source":"s","id":"i","specversion":"1.0"}"#;
    let expected = row(&[("event", "com.example.order"), ("id", "1:si"), ("source", "s"), ("total", "1")]);
    assert_eq!(structured(body).unwrap(), [expected]);
}

#[test]
fn data_may_be_text_bytes_or_absent() {
    let note = |body: &str| structured(body).unwrap().pop().unwrap().get("note").cloned();
    assert_eq!(note(&event(r#","data":"a \"text\"""#)), Some("a \"text\"".to_owned()));
    assert_eq!(note(&event("")), None);
    assert_eq!(note(&event(r#","data":null"#)), None);
    let bytes = event(r#","data_base64":"AQID""#);
    let decoded = decode_structured(bytes.as_bytes(), &keys(SUBJECT), &DecodeLimits::default()).unwrap();
    assert_eq!(decoded.received.tally().bad_values, [(2, 1)], "bytes are no string");
    let both = structured(&event(r#","data":1,"data_base64":"AQID""#)).unwrap_err();
    assert!(matches!(both, DecodeError::Expected { what: "each member once", .. }), "{both}");
}

#[test]
fn what_every_event_must_have_is_asked_for_by_name() {
    for (remove, what) in [
        (r#""specversion":"1.0","#, "an event whose specversion is 1.0"),
        (r#""id":"A-1","#, "an event with an id"),
        (r#""source":"/shop","#, "an event with a source"),
    ] {
        let error = structured(&event("").replace(remove, "")).unwrap_err();
        assert!(matches!(error, DecodeError::Expected { what: found, .. } if found == what), "{error}");
    }
    let empty = structured(&event("").replace("A-1", "")).unwrap_err();
    assert!(matches!(empty, DecodeError::Expected { what: "an event with an id", offset } if offset > 0), "{empty}");
    let number = structured(&event("").replace("\"A-1\"", "7")).unwrap_err();
    assert!(matches!(number, DecodeError::Expected { what: "a string", .. }), "{number}");
    assert!(structured(&event("").replace("1.0", "0.3")).is_err());
}

#[test]
fn a_time_that_cannot_be_read_or_stored_is_none() {
    for time in ["yesterday", "2262-01-01T00:00:00Z", "1677-12-31T23:59:59Z", "9999-12-31T23:59:59Z"] {
        assert_eq!(structured(&event(&format!(r#","time":"{time}""#))).unwrap()[0].get("time"), None, "{time}");
    }
    let last = structured(&event(r#","time":"2261-12-31T23:59:59Z""#)).unwrap();
    assert_eq!(last[0]["time"], "9214646399000000");
}

#[test]
fn a_batch_is_as_many_events_and_ids_stand_beside_the_rows_they_belong_to() {
    let other = event("").replace("com.example.order", "com.example.unknown").replace("A-1", "A-2");
    let bad = event(r#","sampledrate":"often""#).replace("A-1", "A-3");
    let last = event(r#","sampledrate":3"#).replace("A-1", "A-4");
    let body = format!("[{},{other},{bad},{last}]", event(""));
    let decoded = decode_batch(body.as_bytes(), &keys(SUBJECT), &DecodeLimits::default()).unwrap();
    let ids: Vec<_> = rows(&decoded).into_iter().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["5:/shopA-1", "5:/shopA-4"]);
    assert_eq!(decoded.received.records(), 4);
    assert_eq!(decode_batch(b"[]", &keys(SUBJECT), &DecodeLimits::default()).unwrap().received.records(), 0);
    assert!(decode_batch(b"{}", &keys(SUBJECT), &DecodeLimits::default()).is_err());
}

#[test]
fn sources_and_ids_do_not_run_into_each_other() {
    let one = event("").replace("/shop", "ab").replace("A-1", "c");
    let two = event("").replace("/shop", "a").replace("A-1", "bc");
    assert_ne!(structured(&one).unwrap()[0]["id"], structured(&two).unwrap()[0]["id"]);
}

#[test]
fn an_extension_in_a_header_is_what_it_spells_and_in_json_what_it_is() {
    let base = [("ce-specversion", "1.0"), ("ce-id", "A-1"), ("ce-source", "/shop"), ("ce-type", "com.example.order")];
    let binary = |extensions: &[(&str, &str)]| {
        let headers = [&base, extensions].concat();
        decode_binary(&headers, b"", &keys(SUBJECT), &DecodeLimits::default()).unwrap()
    };
    let sent = [
        ("ce-sampledrate", "5"),
        ("ce-urgent", "true"),
        ("ce-due", "2026-11-22T17:21:31Z"),
        ("ce-weight", "-3"),
        ("ce-code", "007"),
    ];
    let expected = row(&[
        ("event", "com.example.order"),
        ("id", "5:/shopA-1"),
        ("source", "/shop"),
        ("sampled", "5"),
        ("urgent", "true"),
        ("due", "1795368091000000"),
        ("weight", "-3"),
        ("code", "007"),
    ]);
    assert_eq!(rows(&binary(&sent)), std::slice::from_ref(&expected));
    let json = r#","sampledrate":5,"urgent":true,"due":"2026-11-22T17:21:31Z","weight":-3,"code":"007""#;
    assert_eq!(structured(&event(json)).unwrap(), [expected]);
    let as_text = binary(&[("ce-code", "true")]);
    assert_eq!(rows(&as_text)[0]["code"], "true");
    for other in [("ce-sampledrate", "05"), ("ce-sampledrate", "often"), ("ce-urgent", "TRUE"), ("ce-due", "5")] {
        assert_eq!(binary(&[other]).received.tally().bad_values, [(2, 1)], "{other:?}");
    }
}

#[test]
fn binary_mode_has_its_context_in_headers() {
    let headers = [
        ("host", "h"),
        ("Ce-Specversion", "1.0"),
        ("ce-id", "A-1"),
        ("ce-source", "/shop%20one"),
        ("CE-TYPE", "com.example.order"),
        ("ce-subject", "\"u-1\""),
        ("content-type", "application/json; charset=utf-8"),
    ];
    let decode = |headers: &[(&str, &str)], body: &[u8]| {
        decode_binary(headers, body, &keys(SUBJECT), &DecodeLimits::default()).map(|decoded| rows(&decoded))
    };
    let body = br#"{"order":{"total":2}}"#;
    let expected = row(&[
        ("event", "com.example.order"),
        ("id", "9:/shop oneA-1"),
        ("source", "/shop one"),
        ("about", "u-1"),
        ("subject", "u-1"),
        ("total", "2"),
    ]);
    assert_eq!(decode(&headers, body).unwrap(), std::slice::from_ref(&expected));
    let (untyped, typed) = (&headers[..headers.len() - 1], &headers[..]);
    assert_eq!(decode(untyped, body).unwrap(), [expected]);
    assert_eq!(decode(untyped, b"").unwrap()[0].get("total"), None);
    assert!(decode(typed, b"{\"order\"").is_err(), "it says that it is JSON");
    // Bytes of some other kind are data that no field takes.
    for other in [b"\xff\xfe".as_slice(), b"plain"] {
        assert_eq!(decode(untyped, other).unwrap(), Vec::<Row>::new(), "`note` takes no bytes");
    }
    let texts = |kind| [untyped, &[("content-type", kind)]].concat();
    for kind in ["text/plain", "text/csv; charset=utf-8"] {
        assert_eq!(decode(&texts(kind), "gr\u{fc}n".as_bytes()).unwrap()[0]["note"], "gr\u{fc}n");
        assert_eq!(decode(&texts(kind), b"\xff\xfe").unwrap(), Vec::<Row>::new(), "that is no UTF-8");
    }
    assert_eq!(decode(&texts("text/plain; charset=iso-8859-1"), b"plain").unwrap(), Vec::<Row>::new());
    assert_eq!(decode(&texts("image/png"), b"plain").unwrap(), Vec::<Row>::new());
    let broken = [&headers[..], &[("ce-other", "%zz")]].concat();
    assert!(matches!(decode(&broken, body), Err(DecodeError::Expected { offset: 0, .. })));
    assert!(matches!(decode(&headers[2..], body), Err(DecodeError::Expected { offset: 0, .. })));
}
