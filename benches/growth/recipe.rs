//! Inputs that grow: a known one of which a piece, or two, are said again and again.

use std::{fmt, ops::Range};

use crate::dice::Dice;

/// The longest piece: a few members, fields or segments.
const LONGEST: u64 = 24;

/// A piece of a base.
#[derive(Clone, Copy, Debug)]
struct Piece {
    begin: usize,
    end: usize,
    /// Where the number of the repetition is put in, so that no two are the same.
    numbered: Option<usize>,
}

/// How to make an input of any size.
#[derive(Clone, Debug)]
pub(crate) struct Recipe<'b> {
    base: &'b [u8],
    /// In order, one behind another.
    pieces: Vec<Piece>,
}

impl<'b> Recipe<'b> {
    /// Takes a piece of the base by chance, or two, such as an opening bracket and a closing one.
    ///
    /// # Panics
    ///
    /// If the base is empty.
    pub(crate) fn by_chance(base: &'b [u8], dice: &mut Dice) -> Self {
        let mut pieces = vec![piece(0, base.len(), dice)];
        let end = pieces[0].end;
        if end < base.len() && dice.below(3) == 0 {
            pieces.push(piece(end, base.len(), dice));
        }
        Self { base, pieces }
    }

    /// Returns the input with as many repetitions as there is room for in so many bytes, or with
    /// one.
    pub(crate) fn input(&self, size: usize) -> Vec<u8> {
        let grown: usize = self.pieces.iter().map(|piece| piece.len()).sum();
        let times = (size.saturating_sub(self.base.len()) / grown + 1).min(0xffff);
        let mut input = Vec::with_capacity(size + grown);
        let mut said = 0;
        for piece in &self.pieces {
            input.extend_from_slice(&self.base[said..piece.begin]);
            for number in 0..times {
                let middle = piece.numbered.unwrap_or(piece.end);
                input.extend_from_slice(&self.base[piece.begin..middle]);
                if piece.numbered.is_some() {
                    input.extend_from_slice(format!("{number:04x}").as_bytes());
                }
                input.extend_from_slice(&self.base[middle..piece.end]);
            }
            said = piece.end;
        }
        input.extend_from_slice(&self.base[said..]);
        input
    }
}

impl Piece {
    /// Bytes of one repetition.
    const fn len(self) -> usize {
        let number = if self.numbered.is_some() { 4 } else { 0 };
        self.end - self.begin + number
    }
}

/// Chooses a piece between two places, which are not the same: a short one rather than a long one.
fn piece(from: usize, to: usize, dice: &mut Dice) -> Piece {
    let mut below = |end: usize| dice.below(end as u64) as usize;
    let begin = from + below(to - from);
    let longest = 1 + below(LONGEST as usize);
    let end = (begin + 1 + below(longest)).min(to);
    let numbered = (below(3) == 0).then(|| begin + below(end - begin + 1));
    Piece {
        begin,
        end,
        numbered,
    }
}

/// The base, its pieces in `«»`, with `#` where a number is put in.
impl fmt::Display for Recipe<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |range: Range<usize>| self.base[range].escape_ascii().to_string();
        let mut said = 0;
        for piece in &self.pieces {
            let middle = piece.numbered.unwrap_or(piece.end);
            let number = piece.numbered.map_or("", |_| "#");
            let before = plain(said..piece.begin);
            let (first, last) = (plain(piece.begin..middle), plain(middle..piece.end));
            write!(formatter, "{before}«{first}{number}{last}»")?;
            said = piece.end;
        }
        formatter.write_str(&plain(said..self.base.len()))
    }
}
