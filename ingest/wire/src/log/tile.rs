//! Tiles and entry bundles (c2sp.org/tlog-tiles): their names, their widths, their bytes.

use std::fmt::{Display, Formatter};

use crate::merkle::Hash;

/// Hashes in a full tile, entries in a full bundle.
pub const WIDTH: u64 = 256;
/// Highest level that a tree below 2^63 leaves can have.
const MOST_LEVEL: u8 = 7;
/// Bytes of the longest name that there is.
const MOST_NAME: usize = 64;

/// A tile of hashes or a bundle of entries: what is stored under one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    what: What,
    index: u64,
    width: u16,
}

/// What a tile is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum What {
    /// Hashes of this level: 0 has leaves, and each hash above is the root of a full tile below.
    Hashes(u8),
    /// The entries themselves.
    Entries,
}

impl Tile {
    /// A tile of hashes.
    #[must_use]
    pub const fn hashes(level: u8, index: u64, width: u16) -> Self {
        Self { what: What::Hashes(level), index, width }
    }

    /// A bundle of entries.
    #[must_use]
    pub const fn entries(index: u64, width: u16) -> Self {
        Self { what: What::Entries, index, width }
    }

    /// The tile that holds a hash of a level in a tree of this size, as wide as it is there; none if it is not.
    #[must_use]
    pub fn of(what: What, at: u64, size: u64) -> Option<Self> {
        let level = match what {
            What::Hashes(level) if level > MOST_LEVEL => return None,
            What::Hashes(level) => level,
            What::Entries => 0,
        };
        let nodes = size >> (8 * u32::from(level));
        let index = at / WIDTH;
        (at < nodes).then(|| Self { what, index, width: (nodes - index * WIDTH).min(WIDTH) as u16 })
    }

    /// The tile of a name such as `tile/0/x001/234.p/8`; none for anything that [`Display`] would not write.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        if name.len() > MOST_NAME {
            return None;
        }
        let rest = name.strip_prefix("tile/")?;
        let (level, rest) = rest.split_once('/')?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse().ok().filter(|width| (1..WIDTH as u16).contains(width))?),
            None => (rest, WIDTH as u16),
        };
        let what = match level {
            "entries" => What::Entries,
            level => What::Hashes(level.parse().ok().filter(|level| *level <= MOST_LEVEL)?),
        };
        let mut index = 0_u64;
        for element in number.split('/') {
            let digits = element.strip_prefix('x').unwrap_or(element);
            let value = (digits.len() == 3).then(|| digits.parse::<u64>().ok())??;
            index = index.checked_mul(1000)?.checked_add(value)?;
        }
        let tile = Self { what, index, width };
        (tile.is_below_2_to_63() && tile.to_string() == name).then_some(tile)
    }

    /// What it is made of.
    #[must_use]
    pub const fn what(&self) -> What {
        self.what
    }

    /// Its place among those of its level.
    #[must_use]
    pub const fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in it.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.width
    }

    /// Whether it never grows any more.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width as u64 == WIDTH
    }

    /// The same when it is full.
    #[must_use]
    pub const fn full(self) -> Self {
        Self { width: WIDTH as u16, ..self }
    }

    /// Whether a tree of this size has it, at this width or a greater one.
    #[must_use]
    pub fn is_in(&self, size: u64) -> bool {
        Self::of(self.what, self.index.saturating_mul(WIDTH), size).is_some_and(|there| there.width >= self.width)
    }

    fn is_below_2_to_63(&self) -> bool {
        let level = if let What::Hashes(level) = self.what { level } else { 0 };
        self.index < 1 << 63_u32.saturating_sub(8 * (u32::from(level) + 1))
    }
}

impl Display for Tile {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.what {
            What::Hashes(level) => write!(f, "tile/{level}/")?,
            What::Entries => f.write_str("tile/entries/")?,
        }
        let mut elements = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            elements.push(rest % 1000);
            rest /= 1000;
        }
        for (at, element) in elements.iter().enumerate().rev() {
            if at > 0 {
                write!(f, "x{element:03}/")?;
            } else {
                write!(f, "{element:03}")?;
            }
        }
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

/// The bytes of a tile of hashes.
#[must_use]
pub fn hashes_to_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// The hashes of a tile; none if it is not as wide as its name says.
#[must_use]
pub fn hashes_of_bytes(bytes: &[u8], width: u16) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() == usize::from(width)).then(|| hashes.to_vec())
}

/// Adds an entry to the bytes of a bundle: u16be length, then the entry; false, and nothing added, for one over 65,535 bytes.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> bool {
    let Ok(length) = u16::try_from(entry.len()) else { return false };
    bundle.extend(length.to_be_bytes());
    bundle.extend(entry);
    true
}

/// The entries of a bundle; none if they are not as many as its name says, or bytes are missing or left over.
#[must_use]
pub fn entries_of_bytes(bytes: &[u8], width: u16) -> Option<Vec<&[u8]>> {
    let (mut entries, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() && entries.len() < usize::from(width) {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        entries.push(entry);
        rest = after;
    }
    (rest.is_empty() && entries.len() == usize::from(width)).then_some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_specification() {
        // The example of c2sp.org/tlog-tiles, and widths of a tree of 70,000.
        assert_eq!(Tile::hashes(0, 1_234_067, 256).to_string(), "tile/0/x001/x234/067");
        assert_eq!(Tile::entries(0, 1).to_string(), "tile/entries/000.p/1");
        let of = |level, at| Tile::of(What::Hashes(level), at, 70_000).map(|tile| (tile.index(), tile.width()));
        assert_eq!((of(0, 0), of(0, 69_999), of(0, 70_000)), (Some((0, 256)), Some((273, 112)), None));
        assert_eq!((of(1, 0), of(1, 272), of(1, 273)), (Some((0, 256)), Some((1, 17)), None));
        assert_eq!((of(2, 0), of(2, 1), of(3, 0), of(8, 0)), (Some((0, 1)), None, None, None));
        let first = |level| Tile::of(What::Hashes(level), 0, 256).map(|tile| tile.to_string());
        assert_eq!((first(0), first(1)), (Some("tile/0/000".to_owned()), Some("tile/1/000.p/1".to_owned())));
    }

    #[test]
    fn a_name_leads_to_its_tile_and_nothing_else_to_any() {
        for tile in [
            Tile::hashes(0, 0, 256),
            Tile::hashes(7, 0, 1),
            Tile::hashes(3, 999, 255),
            Tile::hashes(1, 1000, 3),
            Tile::entries(1_234_067, 256),
            Tile::entries((1 << 55) - 1, 17),
        ] {
            assert_eq!(Tile::parse(&tile.to_string()), Some(tile), "{tile}");
        }
        for name in [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/00/000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/",
            "tile/0/000.p/+1",
            "tile/0/+00",
            "tile/0/x000/000",
            "tile/0/x000",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/8/000",
            "tile/63/000",
            "tile/-1/000",
            "tile/0/../000",
            "tile/entries/../../x",
            "tile/entries/000.p/1.p/1",
            "tile/entries/000/",
            "/tile/0/000",
            "tile/0/00a",
            "tile/7/x001/000",
            "tile/entries/x999/x999/x999/x999/x999/999",
            "tile/0/\u{661}\u{661}\u{661}",
            "tile/data/000",
        ] {
            assert_eq!(Tile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_tree_has_its_tiles_at_no_greater_width() {
        let tile = |width| Tile::hashes(0, 1, width);
        assert!(tile(1).is_in(257) && tile(3).is_in(300) && tile(256).is_in(512));
        assert!(!tile(1).is_in(256) && !tile(45).is_in(300) && !Tile::hashes(1, 0, 1).is_in(255));
        assert!(!Tile::entries(u64::MAX, 1).is_in(u64::MAX >> 1));
    }

    #[test]
    fn bundles_are_read_whole_or_not_at_all() {
        let mut bundle = Vec::new();
        assert!(
            push_entry(&mut bundle, b"one")
                && push_entry(&mut bundle, b"")
                && !push_entry(&mut bundle, &vec![0; 65_536])
        );
        assert_eq!(bundle, b"\0\x03one\0\0");
        assert_eq!(entries_of_bytes(&bundle, 2), Some(vec![&b"one"[..], b""]));
        for width in [0, 1, 3] {
            assert_eq!(entries_of_bytes(&bundle, width), None);
        }
        for end in 0..bundle.len() {
            assert_eq!(entries_of_bytes(&bundle[..end], 2), None, "cut at {end}");
        }
        assert_eq!(hashes_of_bytes(&[7; 64], 2), Some(vec![[7; 32]; 2]));
        assert_eq!((hashes_of_bytes(&[7; 64], 1), hashes_of_bytes(&[7; 65], 2)), (None, None));
    }
}
