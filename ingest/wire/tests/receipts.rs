//! The bytes of receipts that are hashed. A failure prints the input and proptest's seed.

use std::collections::BTreeMap;

use candor_wire::receipt::{PurposeReceipt, Receipt};
use proptest::option;
use proptest::prelude::*;

/// Names and texts of any characters, those among them whose order in UTF-16 is another one.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z_]{0,8}", any::<String>(), Just("\u{ff21}".to_owned()), Just("\u{10000}".to_owned())]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..1 << 53, Just((1 << 53) - 1), Just(1 << 53), any::<u64>()]
}

fn purpose() -> impl Strategy<Value = PurposeReceipt> {
    let dropped = prop::collection::btree_map(text(), number(), 0..3);
    let numbers = (option::of(number()), number(), number());
    (numbers, dropped, option::of(text())).prop_map(|((batch, offered, stored), dropped, rows)| PurposeReceipt {
        batch,
        dropped,
        offered,
        rows,
        stored,
    })
}

fn receipt() -> impl Strategy<Value = Receipt> {
    let purposes = prop::collection::btree_map(text(), purpose(), 0..4);
    let times = (option::of(any::<i64>()), any::<i64>(), 0_i64..1 << 53);
    (number(), [text(), text(), text(), text(), text()], option::of(text()), times, purposes).prop_map(
        |(batch, [body, catalogue, fleet, policy, subject], checkpoint, (consent, received_at, seal_by), purposes)| {
            Receipt {
                batch,
                body,
                catalogue,
                checkpoint,
                consent,
                fleet,
                policy,
                purposes,
                received_at,
                seal_by,
                subject,
            }
        },
    )
}

proptest! {
    #[test]
    fn a_receipt_is_hashed_as_rfc_8785_writes_it(receipt in receipt()) {
        let canonical = serde_json_canonicalizer::to_string(&receipt).ok();
        prop_assert_eq!(receipt.to_json().ok(), canonical);
        let plain = Receipt { batch: 1, consent: None, received_at: 2, seal_by: 3, purposes: BTreeMap::new(), ..receipt };
        prop_assert_eq!(plain.to_json().ok(), serde_json_canonicalizer::to_string(&plain).ok());
    }
}
