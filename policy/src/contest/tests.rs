//! The laws of the lattice, and of the contest that finds its joins.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::operator::{Parameter, Rank, build};

fn operator(name: &str, parameters: &[(&str, Parameter)]) -> OperatorRef {
    let parameters: BTreeMap<String, Parameter> =
        parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    build(name, &parameters).unwrap()
}

/// Operators for a whole number, some of which cannot be compared.
fn operators() -> Vec<OperatorRef> {
    let bin = |width: i64, origin: i64| {
        operator("bin", &[("width", Parameter::Integer(width)), ("origin", Parameter::Integer(origin))])
    };
    let hmac = |key: &str| operator("hmac", &[("key", Parameter::Text(key.to_owned()))]);
    vec![
        operator("keep", &[]),
        operator("drop", &[]),
        operator("suppress", &[]),
        hmac("a"),
        hmac("b"),
        bin(2, 0),
        bin(3, 0),
        bin(6, 0),
        bin(12, 0),
        bin(12, 6),
        bin(6, 3),
    ]
}

/// Always reaches the one cell, certainly or perhaps.
fn reach(certain: bool) -> Reach {
    let none = Cells::none(1);
    let mut all = Cells::none(1);
    all.unite_fresh(&one(), |_| {});
    Reach { holds: if certain { all.clone() } else { none }, may_hold: all }
}

fn one() -> Cells {
    let mut space = crate::cells::CellSpace::new(std::iter::empty());
    space.reach(&crate::condition::Condition::ALWAYS).holds
}

/// Strictest operator of rules that reach the one cell; `Err` where there is none, `Ok(None)` where nothing gets through.
fn join(rules: &[(OperatorRef, bool)]) -> Result<Option<OperatorRef>, ()> {
    let reaches: Vec<Reach> = rules.iter().map(|(_, certain)| reach(*certain)).collect();
    let contenders: Vec<Contender<'_>> = rules
        .iter()
        .zip(&reaches)
        .enumerate()
        .map(|(rule, ((operator, _), reach))| Contender { rule, emit: 0, operator, reach })
        .collect();
    let contest = Contest::hold(&contenders, 1);
    if contest.rivals.is_empty() {
        Ok(rules.get(contest.winner[0] as usize).map(|(operator, _)| operator.clone()))
    } else {
        Err(())
    }
}

fn shown(joined: &Result<Option<OperatorRef>, ()>) -> String {
    match joined {
        Ok(Some(operator)) => crate::lattice::text(&**operator),
        Ok(None) => "nothing".to_owned(),
        Err(()) => "incomparable".to_owned(),
    }
}

fn rules() -> impl Strategy<Value = Vec<(OperatorRef, bool)>> {
    proptest::collection::vec((proptest::sample::select(operators()), any::<bool>()), 1..6)
}

#[test]
fn comparison_is_a_partial_order() {
    let all = operators();
    let at_least =
        |a: &OperatorRef, b: &OperatorRef| matches!(compare(&**a, &**b), Strictness::Stricter | Strictness::Same);
    for a in &all {
        assert_eq!(compare(&**a, &**a), Strictness::Same);
        for b in &all {
            let mirrored = match compare(&**b, &**a) {
                Strictness::Stricter => Strictness::Weaker,
                Strictness::Weaker => Strictness::Stricter,
                same => same,
            };
            assert_eq!(compare(&**a, &**b), mirrored, "{a:?} {b:?}");
            for c in &all {
                assert!(!(at_least(a, b) && at_least(b, c)) || at_least(a, c), "{a:?} {b:?} {c:?}");
            }
        }
    }
}

#[test]
fn ranks_come_first() {
    let text = |a: &str, b: &str| {
        let pick = |name: &str| operators().into_iter().find(|operator| operator.name() == name).unwrap();
        shown(&join(&[(pick(a), true), (pick(b), true)]))
    };
    assert_eq!(text("suppress", "drop"), "drop");
    assert_eq!(text("suppress", "bin"), "suppress");
    assert_eq!(text("hmac", "bin"), "bin(width=2 origin=0)");
    assert_eq!(text("keep", "hmac"), "hmac(key=a)");
}

proptest! {
    /// Commutative, and so associative: the winner is that of the set, whatever the order.
    #[test]
    fn the_order_of_rules_means_nothing(rules in rules(), seed in any::<prop::sample::Index>()) {
        let mut other = rules.clone();
        other.rotate_left(seed.index(rules.len()));
        prop_assert_eq!(shown(&join(&rules)), shown(&join(&other)));
        other.reverse();
        prop_assert_eq!(shown(&join(&rules)), shown(&join(&other)));
    }

    #[test]
    fn a_rule_twice_is_a_rule_once(rules in rules()) {
        let twice: Vec<_> = rules.iter().chain(&rules).cloned().collect();
        prop_assert_eq!(shown(&join(&rules)), shown(&join(&twice)));
    }

    /// Joining in two steps gives what joining at once does.
    #[test]
    fn joins_can_be_taken_in_steps(a in rules(), b in rules()) {
        let certain = |rules: &[(OperatorRef, bool)]| rules.iter().map(|(operator, _)| (operator.clone(), true)).collect::<Vec<_>>();
        let (a, b) = (certain(&a), certain(&b));
        if let (Ok(Some(left)), Ok(Some(right))) = (join(&a), join(&b)) {
            let at_once: Vec<_> = a.iter().chain(&b).cloned().collect();
            prop_assert_eq!(shown(&join(&at_once)), shown(&join(&[(left, true), (right, true)])));
        }
    }

    /// Another rule never makes a field that is stored less strict.
    #[test]
    fn another_rule_never_widens(rules in rules(), more in proptest::sample::select(operators()), certain in any::<bool>()) {
        let before = join(&rules);
        let mut longer = rules;
        longer.push((more, certain));
        if let (Ok(Some(before)), Ok(Some(after))) = (before, join(&longer)) {
            prop_assert!(matches!(compare(&*after, &*before), Strictness::Stricter | Strictness::Same));
        }
    }

    /// What is undecided lets nothing through.
    #[test]
    fn undecided_rules_alone_store_nothing(rules in rules()) {
        let undecided: Vec<_> = rules.into_iter().map(|(operator, _)| (operator, false)).collect();
        prop_assert_eq!(shown(&join(&undecided)), "nothing");
    }
}

#[test]
fn the_winner_is_at_least_as_strict_as_all() {
    let all = operators();
    for a in &all {
        for b in &all {
            if let Ok(Some(winner)) = join(&[(a.clone(), true), (b.clone(), true)]) {
                assert!(winner.rank() >= a.rank().max(b.rank()) && winner.rank() >= Rank::Keep);
            }
        }
    }
}
