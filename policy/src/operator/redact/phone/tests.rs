//! Numbers as people write them in many countries, and numbers that are none.

use super::super::testing::found;

#[test]
fn numbers_that_need_no_word() {
    for number in [
        "+49 30 1234567",
        "+1-984-182-0190",
        "+46 (0)8 928 571 38",
        "+41 (0)69 979 80 58",
        "+447700 921 916",
        "+447700677662",
        "+44 (20) 7123 4567",
        "(+49) 30 1234567",
        "+63-917-123-4567",
        "+86 138 1234 5678",
        "+30 21 0 1234567",
        "+55 11 98456 5666",
        "001-518-640-0854",
        "0044 20 7123 4567",
        "(415) 555-0132",
        "(415)555-0132",
        "(08) 8747 6301",
        "(37) 788-063",
        "(64) 3591-3246",
        "0 (532) 1234567",
        "0 532 123 45 67",
        "780-999-2181",
        "415.555.0132",
        "930.167.3943",
        "(11) 98765-4321",
        "8 (495) 123-45-67",
        "8-800-555-35-35",
        "020 7946 0958",
        "010-1234-5678",
        "070-123 45 67",
        "415 555 0132",
        "1-800-555-0132",
        "91-415-555-0132",
        "345-899-3560x4587",
        "(898)666-3621x0135",
        "415-555-0132 ext. 33",
        "0490 75 40 81",
        "01.84.17.61.18",
        "09-7625400",
        "090-1234-5678",
        "083 564 9312",
        "078 8098 1119",
        "0378 3549890",
        "0961-7596216",
        "07700 063 966",
        "089/12345678",
        "0171/12 34 567",
        "532 123 45 67",
        "138 1234 5678",
        "09181234567",
        "0301234567",
    ] {
        assert_eq!(found("phone", number), [number]);
        for (before, behind) in [("call ", "."), ("a, ", ", b"), ("<", ">"), ("Tel:", "\n"), ("", "-Fax"), ("\"", "\"")]
        {
            let text = format!("{before}{number}{behind}");
            assert_eq!(found("phone", &text), [number], "{text}");
        }
    }
}

#[test]
fn numbers_that_need_a_word() {
    for number in [
        "467 3395",
        "21 253 109 8211",
        "9472 7916",
        "72 128 827",
        "416 60 039",
        "71-33-52-22",
        "723 813 266",
        "5403926876",
        "13812345678",
        "512 128 1024",
    ] {
        assert_eq!(found("phone", number), [""; 0], "{number}");
        for text in [format!("Phone: {number}"), format!("{number} office"), format!("Mobile {number}, x")] {
            assert_eq!(found("phone", &text), [number], "{text}");
        }
        for text in [format!("call took {number} ns"), format!("hotel {number}"), format!("tel 5, id {number}")] {
            assert_eq!(found("phone", &text), [""; 0], "{text}");
        }
    }
}

#[test]
fn numbers_of_something_else() {
    for text in [
        "1978-04-13 12:20:39",
        "2026-11-22T10:30:15.123456Z",
        "22.11.2026",
        "01-02-2026",
        "1700000000",
        "1700000000123",
        "1700000000.123456",
        "192.168.10.20",
        "12.0.33.7",
        "120.0.6099.109",
        "37.7749, -122.4194",
        "550e8400-e29b-41d4-a716-446655440000",
        "12345678-1234-1234-1234-123456789012",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "0x0301234567",
        "id-0301234567",
        "/files/0301234567",
        "4111 1111 1111 1111",
        "0.0301234567",
        "UTC+0200",
        "a+4915112345678",
        "offset +12345678 bytes",
        "+99912",
        "f(415) 555-0132",
        "000-000-0000",
        "00 11 22 33 44 55 66 77 88 99",
        "012 345 678 901 234 567 890",
        "007 of 12345678",
        "0000012345",
    ] {
        assert_eq!(found("phone", text), [""; 0], "{text}");
    }
}

#[test]
fn every_last_digit_and_every_area_counts() {
    for area in 200..1000 {
        let number = format!("{area}-555-0132");
        assert_eq!(found("phone", &number), [number.as_str()]);
        let number = format!("({area}) 555-0132");
        assert_eq!(found("phone", &number), [number.as_str()]);
    }
    for last in 0..10_000 {
        let number = format!("+1 415 555 {last:04}");
        assert_eq!(found("phone", &number), [number.as_str()]);
    }
}
