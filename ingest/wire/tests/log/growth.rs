//! Growing a tree in steps, through tiles.

use candor_wire::log::edge::Edge;
use candor_wire::log::proof::{self, OfTiles};
use candor_wire::log::tile::{Tile, What};
use candor_wire::merkle;
use proptest::prelude::*;

use crate::tree::{Plain, Tiles, leaves};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_steps_lead_to_the_root_of_all_leaves(steps in prop::collection::vec(prop_oneof![0_u64..4, 0_u64..300, 250_u64..260, 500_u64..800], 1..12)) {
        let all = leaves(steps.iter().sum());
        let (mut edge, mut tiles) = (Edge::default(), Tiles::default());
        for step in steps {
            let before = edge.size();
            let new = &all[before as usize..(before + step) as usize];
            for (tile, hashes) in edge.grow(new) {
                prop_assert_eq!(hashes.len(), usize::from(tile.width()));
                tiles.0.insert(tile, hashes);
            }
            let size = edge.size();
            let root = merkle::root(&all[..size as usize]);
            prop_assert_eq!((size, edge.root()), (before + step, root));
            prop_assert_eq!(&Edge::read(size, |tile| tiles.read(tile)).unwrap(), &edge);
            // From nothing but tiles as wide as they are at this size.
            let hashes = OfTiles::new(size, |tile: &Tile| tiles.read(tile));
            prop_assert_eq!(proof::root(&hashes, size).unwrap(), root);
            let plain = Plain(&all[..size as usize]);
            for index in [0, size / 3, size / 2, size.saturating_sub(1)] {
                if index < size {
                    let path = proof::inclusion(&hashes, index, size).unwrap();
                    prop_assert_eq!(&path, &proof::inclusion(&plain, index, size).unwrap());
                    prop_assert!(proof::is_included(all[index as usize], index, (size, &root), &path));
                }
                let path = proof::consistency(&hashes, index, size).unwrap();
                prop_assert_eq!(&path, &proof::consistency(&plain, index, size).unwrap());
                let old = merkle::root(&all[..index as usize]);
                prop_assert!(proof::is_consistent((index, &old), (size, &root), &path));
            }
        }
    }
}

#[test]
fn a_tree_of_70_000_has_the_tiles_of_the_specification() {
    let all = leaves(70_000);
    let (mut edge, mut tiles) = (Edge::default(), Tiles::default());
    for chunk in all.chunks(7_777) {
        tiles.0.extend(edge.grow(chunk));
    }
    assert_eq!(edge.root(), merkle::root(&all));
    let full = |level| tiles.0.keys().filter(|tile| tile.is_full() && tile.what() == What::Hashes(level)).count();
    assert_eq!((full(0), full(1), full(2)), (273, 1, 0));
    for (level, index, width) in [(0, 273, 112), (1, 1, 17), (2, 0, 1)] {
        assert!(tiles.0.contains_key(&Tile::hashes(level, index, width)), "{level} {index} {width}");
    }
}

#[test]
fn a_tile_that_is_too_short_or_not_there_is_an_error_and_no_panic() {
    let all = leaves(1000);
    let mut tiles = Tiles::default();
    tiles.0.extend(Edge::default().grow(&all));
    let short = |tile: &Tile| {
        tiles.read(tile).map(|mut hashes| {
            hashes.pop();
            hashes
        })
    };
    assert!(Edge::read(1000, short).is_err());
    assert!(proof::root(&OfTiles::new(1000, short), 1000).is_err());
    let hashes = OfTiles::new(1000, |tile: &Tile| tiles.read(tile));
    assert!(proof::inclusion(&hashes, 1000, 1000).is_err() && proof::inclusion(&hashes, 0, 1001).is_err());
    assert!(proof::consistency(&hashes, 1001, 1000).is_err() && proof::root(&hashes, u64::MAX >> 1).is_err());
}
