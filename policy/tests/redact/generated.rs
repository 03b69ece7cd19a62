//! Precision and recall on seeded texts: identifiers in the sentences of logs, and what is only like them.
//!
//! `cargo test -p candor-policy --test redact generated -- --nocapture` prints the seed and the tables; `CANDOR_REDACT_SEED` sets another.

use super::support::{Place, Random, Score, places, print_head, redact, redactor};

const SEED: u64 = 20_261_122;
const TEXTS: usize = 4_000;
const LEAST: f64 = 0.95;

/// Sentences with a place for a value; none says what the value is.
const PLAIN: [&str; 10] = [
    "failed for {}",
    "{}",
    "{} was refused, retrying",
    "value={} state=ok",
    "{\"value\": \"{}\", \"retries\": 3}",
    "seen {}; giving up.",
    "[warn] unexpected {} (see log)",
    "from {} at 2026-11-22T10:30:15.123Z",
    "Überprüfung von {} läuft",
    "设备 {} 已连接",
];

/// The pattern's digits with their check digit, by the standard's rule for making one.
fn luhn_number(random: &mut Random, pattern: &str) -> String {
    let body = random.fill(pattern);
    let doubled = |(place, digit): (usize, u32)| if place % 2 == 0 { digit * 2 / 10 + digit * 2 % 10 } else { digit };
    let sum: u32 = body.chars().rev().map(|c| c.to_digit(10).unwrap()).enumerate().map(doubled).sum();
    format!("{body}{}", (10 - sum % 10) % 10)
}

fn wrong_digit(number: &str) -> String {
    let (body, last) = number.split_at(number.len() - 1);
    format!("{body}{}", (last.parse::<u32>().unwrap() + 1) % 10)
}

/// What VINs are made of.
const CHARS: &str = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ";

/// A text of characters of a set.
fn of(random: &mut Random, set: &str, length: usize) -> String {
    (0..length).map(|_| char::from(*random.pick(set.as_bytes()))).collect()
}

fn vin(random: &mut Random) -> String {
    if random.below(2) == 0 { checked_vin(random) } else { structured_vin(random) }
}

/// A VIN as it is outside North America: a maker, what describes the vehicle, year, plant and serial number.
fn structured_vin(random: &mut Random) -> String {
    let makers = [
        "WVW", "WAU", "WDB", "WDD", "WBA", "WP0", "W0L", "WF0", "WV1", "VF1", "VF3", "VF7", "VSS", "VNK", "ZFA", "ZAR",
        "TMB", "TRU", "TSM", "SAL", "SAJ", "SB1", "SJN", "SUP", "YV1", "YS3", "UU1", "XTA", "XW8", "JTD", "JMZ", "KNA",
        "KMH", "LSJ", "LRW", "MA3", "NMT", "AHT", "6T1", "7A8", "8AP", "9BW",
    ];
    let maker = match random.below(4) {
        0 => of(random, "ABCDEFGHJKLMNPRSTUVWXYZ6789", 1) + &of(random, CHARS, 2),
        _ => (*random.pick(&makers)).to_owned(),
    };
    let description = match random.below(3) {
        0 => "ZZZ".to_owned() + &of(random, CHARS, 2) + "Z",
        _ => of(random, CHARS, 6),
    };
    let plant = of(random, "ABCDEFGHJKLMNPRSTUVWXYZ", 1);
    let digits = *random.pick(&["######", "0#####", "00####"]);
    let rest = of(random, "123456789ABCDEFGHJKLMNPRSTVWXY", 1) + &plant + &random.fill(digits);
    match random.below(16) {
        // Fiat's model, zeros and number.
        0 => random.fill("ZFA%##0000#######"),
        _ => maker + &description + &rest,
    }
}

/// What is as long as a VIN and none.
fn long_as_a_vin(random: &mut Random) -> String {
    let text = match random.below(16) {
        0 | 1 => of(random, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", 17),
        2 => of(random, "0123456789abcdefghijklmnopqrstuvwxyz", 17),
        3 => of(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 17),
        4 => of(random, "0123456789ABCDEFGHJKMNPQRSTVWXYZ", 17),
        5 => of(random, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", 17),
        6 => random.fill("~~~~~~~~~~~~~~~~~"),
        7 => random.fill("^^^^^^^^^^^^^^^^^"),
        8 => random.fill("#################"),
        9 => random.fill("SN202611##A######"),
        10 => random.fill("RE202611##%######"),
        11 => random.fill("PART%############"),
        12 => random.fill("W%#####-##-######"),
        13 => random.fill("A%####%##-##/%###"),
        14 => random.fill("BUILD#######RC###"),
        _ => of(random, CHARS, 17),
    };
    assert_eq!(text.len(), 17);
    text
}

/// A VIN made by the standard's own sum, so that the detector is not measured by itself.
fn checked_vin(random: &mut Random) -> String {
    const VALUES: &str = "012345678912345678123457923456789";
    let mut chars: Vec<u8> = (0..17).map(|_| *random.pick(CHARS.as_bytes())).collect();
    let weights = [8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2];
    let value = |byte: u8| u32::from(VALUES.as_bytes()[CHARS.bytes().position(|c| c == byte).unwrap()] - b'0');
    let sum: u32 = chars.iter().zip(weights).map(|(byte, weight)| value(*byte) * weight).sum();
    chars[8] = b"0123456789X"[(sum % 11) as usize];
    String::from_utf8(chars).unwrap()
}

fn ip(random: &mut Random) -> String {
    let octet = |random: &mut Random| random.below(256).to_string();
    let group = |random: &mut Random| format!("{:x}", random.below(65_536));
    match random.below(6) {
        0..=2 => format!("{}.{}.{}.{}", 11 + random.below(212), octet(random), octet(random), octet(random)),
        3 => format!("192.168.{}.{}", octet(random), octet(random)),
        4 => (0..8).map(|_| group(random)).collect::<Vec<_>>().join(":"),
        _ => format!("2001:db8:{}::{}:{}", group(random), group(random), group(random)),
    }
}

fn mac(random: &mut Random) -> String {
    let pattern =
        *random.pick(&["~~:~~:~~:~~:~~:~~", "^^:^^:^^:^^:^^:^^", "^^-^^-^^-^^-^^-^^", "~~:~~:~~:~~:~~:~~:~~:~~"]);
    random.fill(pattern)
}

fn imei(random: &mut Random) -> String {
    let pattern = *random.pick(&["35############", "86############", "01############", "49############"]);
    luhn_number(random, pattern)
}

fn url(random: &mut Random) -> String {
    let pattern = *random.pick(&[
        "https://example.com/a/~~~~?q=##",
        "http://host-##.internal:80##/status",
        "https://www.shop##.de/p/~~~~~~~~",
        "www.example##.co.uk/x",
        "wss://push.example.net/~~~~#frag",
        "file:///home/user##/notes.txt",
        "https://user:~~~~@example.org/x.git",
        "ftp://203.0.113.##/pub",
        "example##.com/login",
    ]);
    random.fill(pattern)
}

fn phone(random: &mut Random) -> String {
    let pattern = *random.pick(&[
        "+49 30 %######",
        "+1-4%#-$##-####",
        "+44 7700 9#####",
        "+4477009#####",
        "+33 1 ## ## ## ##",
        "+86 13# #### ####",
        "+46 (0)8 ### ### ##",
        "001-518-$##-####",
        "(4%#) $##-####",
        "(4%#)$##-####",
        "4%#-$##-####",
        "4%#.$##.####",
        "1-800-$##-####",
        "0%## ## ## ##",
        "01.##.##.##.##",
        "090-%###-####",
        "089/%#######",
        "0171 %######",
        "0%## ### ####",
        "4%#-$##-####x###",
    ]);
    random.fill(pattern)
}

/// What is like one of the identifiers, and none: for every detector of this table.
fn bait(random: &mut Random) -> String {
    match random.below(26) {
        0 => random.fill("v%.#.##.#"),
        1 => random.fill("version %#.#.##.%"),
        2 => random.fill("%#.0.####.##"),
        3 => random.fill("%.#.%"),
        4 => random.fill("~~~~~~~~-~~~~-4~~~-a~~~-~~~~~~~~~~~~"),
        5 => random.fill("{^^^^^^^^-^^^^-4^^^-A^^^-^^^^^^^^^^^^}@x"),
        6 => random.fill("~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~"),
        7 => random.fill("sha256:~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~"),
        8 => random.fill("%#.######, -%#.######"),
        9 => random.fill("jid0-~~~~^^^^~~~~^^^^@jetpack"),
        10 => random.fill("addon-##@eric.h.jung"),
        11 => random.fill("2026-11-##T1#:3#:##.###Z"),
        12 => random.fill("17########"),
        13 => random.fill("17###########"),
        14 => random.fill("17##################"),
        15 => random.fill("0.################"),
        16 => random.fill("~~:~~:~~:~~:~~"),
        17 => random.fill("^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^:^^"),
        18 => wrong_digit(&imei(random)),
        19 => {
            let mut vin = checked_vin(random).into_bytes();
            // Two characters change places that weigh differently, or the last one changes: the sum no longer fits.
            vin[16] = if vin[16] == b'1' { b'2' } else { b'1' };
            vin[15] = if vin[15] == b'1' { b'2' } else { b'1' };
            let vin = String::from_utf8(vin).unwrap();
            random.fill("build ") + &vin[..16]
        }
        20 => random.fill("com.example.app##.MainActivity"),
        21 => random.fill("org.example.net##"),
        22 => random.fill("1#:3#:##"),
        23 | 24 => long_as_a_vin(random),
        _ => random.fill("std::vec::Vec<u%>::push"),
    }
}

/// A kind and how to make one.
type Kind = (&'static str, fn(&mut Random) -> String);

fn seed() -> u64 {
    std::env::var("CANDOR_REDACT_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(SEED)
}

#[test]
fn vins_among_what_is_as_long() {
    let kinds: [Kind; 2] = [("with a check digit", checked_vin), ("with structure", structured_vin)];
    let mut random = Random(seed());
    print_head(&format!("{TEXTS} VINs of a kind, as many texts of 17 characters that are none, all detectors on"));
    for (name, make) in kinds {
        let mut texts: Vec<(String, Vec<Place>)> = Vec::new();
        for _ in 0..TEXTS {
            let (frame, value) = (*random.pick(&PLAIN), make(&mut random));
            let at = frame.find("{}").unwrap();
            texts.push((frame.replacen("{}", &value, 1), vec![("vin", at, at + value.len())]));
            texts.push((random.pick(&PLAIN).replacen("{}", &long_as_a_vin(&mut random), 1), Vec::new()));
        }
        let written = redact(&redactor(&[]), texts.iter().map(|(text, _)| text.as_str()));
        let mut score = Score::default();
        for ((text, expected), out) in texts.iter().zip(&written) {
            score.add("vin", &places(text, out, expected), expected);
        }
        score.print(name);
        assert!(score.precision() >= LEAST && score.recall() >= LEAST, "{name}: {score:?}");
    }
}

#[test]
fn seeded_texts() {
    let seed = seed();
    let kinds: [Kind; 6] = [("ip", ip), ("mac", mac), ("imei", imei), ("vin", vin), ("url", url), ("phone", phone)];
    let mut random = Random(seed);
    let mut texts: Vec<(String, Vec<Place>)> = Vec::new();
    for (name, make) in kinds {
        for _ in 0..TEXTS {
            let (frame, value) = (*random.pick(&PLAIN), make(&mut random));
            let at = frame.find("{}").unwrap();
            texts.push((frame.replacen("{}", &value, 1), vec![(name, at, at + value.len())]));
            texts.push((random.pick(&PLAIN).replacen("{}", &bait(&mut random), 1), Vec::new()));
        }
    }
    let written = redact(&redactor(&[]), texts.iter().map(|(text, _)| text.as_str()));
    print_head(&format!("{TEXTS} texts a kind and as many of bait, seed {seed}, all detectors on, exact places"));
    let mut scores = kinds.map(|(name, _)| (name, Score::default()));
    for ((text, expected), out) in texts.iter().zip(&written) {
        let found = places(text, out, expected);
        for (name, score) in &mut scores {
            score.add(name, &found, expected);
        }
    }
    for (name, score) in scores {
        score.print(name);
        assert_eq!(score.right + score.missed, TEXTS, "{name}");
        assert!(score.precision() >= LEAST && score.recall() >= LEAST, "{name}: {score:?}");
    }
}
