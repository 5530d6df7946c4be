//! Where the clusters of a value are.

/// More pieces than a value on a real volume has; what claims more is damaged.
const RUNS_MAX: usize = 2_000_000;

/// A hole, in place of a cluster number.
const HOLE: u64 = u64::MAX;

/// The runs of clusters of a value, in its order and without gaps.
#[derive(Debug, Default, Clone)]
pub(super) struct Runs {
    runs: Vec<Run>,
    /// The first cluster that no run describes.
    end: u64,
}

/// Clusters that follow one another, in the value and on the volume.
#[derive(Debug, Clone, Copy)]
struct Run {
    vcn: u64,
    /// Where they are on the volume, or [`HOLE`].
    lcn: u64,
}

/// What one place of a value is, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The cluster on the volume, or `None` for one that is not stored and reads as zeros.
    pub(super) lcn: Option<u64>,
    /// For how many clusters from here on this holds; at least 1.
    pub(super) clusters: u64,
}

impl Runs {
    /// Appends the runs of a piece that begins at cluster `lowest_vcn` of the value; the error says what is wrong.
    pub(super) fn append(
        &mut self,
        lowest_vcn: u64,
        encoded: &[u8],
        clusters_on_volume: u64,
    ) -> Result<(), &'static str> {
        if lowest_vcn != self.end {
            return Err("a piece of its list of clusters is missing");
        }
        let mut lcn: i64 = 0;
        let mut rest = encoded;
        while let Some((header, after)) = rest.split_first().filter(|(header, _)| **header != 0) {
            let (len_width, lcn_width) = (usize::from(header & 0x0F), usize::from(header >> 4));
            let (len, after) = after
                .split_at_checked(len_width)
                .ok_or("its list of clusters breaks off")?;
            let (delta, after) = after
                .split_at_checked(lcn_width)
                .ok_or("its list of clusters breaks off")?;
            let len = number(len)
                .and_then(|len| u64::try_from(len).ok())
                .filter(|len| *len > 0)
                .ok_or("its list of clusters has a run of an impossible length")?;
            let place = if delta.is_empty() {
                HOLE
            } else {
                lcn = number(delta)
                    .and_then(|delta| lcn.checked_add(delta))
                    .ok_or("its list of clusters has an impossible number")?;
                u64::try_from(lcn)
                    .ok()
                    .filter(|start| {
                        start
                            .checked_add(len)
                            .is_some_and(|end| end <= clusters_on_volume)
                    })
                    .ok_or("its list of clusters leaves the volume")?
            };
            if self.runs.len() >= RUNS_MAX {
                return Err("its list of clusters has too many runs");
            }
            self.runs.push(Run {
                vcn: self.end,
                lcn: place,
            });
            self.end = self
                .end
                .checked_add(len)
                .filter(|end| i64::try_from(*end).is_ok())
                .ok_or("its list of clusters has a run of an impossible length")?;
            rest = after;
        }
        Ok(())
    }

    /// Returns what cluster `vcn` of the value is; `None` past the end.
    pub(super) fn at(&self, vcn: u64) -> Option<Place> {
        if vcn >= self.end {
            return None;
        }
        let index = self.runs.partition_point(|run| run.vcn <= vcn);
        let run = self.runs.get(index.checked_sub(1)?)?;
        let end = self.runs.get(index).map_or(self.end, |next| next.vcn);
        Some(Place {
            lcn: (run.lcn != HOLE).then(|| run.lcn.saturating_add(vcn - run.vcn)),
            clusters: end.checked_sub(vcn).filter(|clusters| *clusters > 0)?,
        })
    }

    /// Returns how many runs there are.
    pub(super) fn count(&self) -> u64 {
        self.runs.len() as u64
    }
}

/// A signed number of up to 8 bytes; `None` for none or more.
fn number(bytes: &[u8]) -> Option<i64> {
    let sign = *bytes.last()?;
    let mut whole = [if sign & 0x80 == 0 { 0 } else { 0xFF }; 8];
    whole.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(whole))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(lcn: Option<u64>, clusters: u64) -> Option<Place> {
        Some(Place { lcn, clusters })
    }

    #[test]
    fn runs_holes_and_steps_back() {
        let mut runs = Runs::default();
        // 4 clusters at 256, a hole of 3, 2 clusters 2 before 256.
        runs.append(0, &[0x21, 4, 0, 1, 0x01, 3, 0x11, 2, 0xFE, 0, 0x55], 1000)
            .unwrap();
        assert_eq!(runs.at(0), place(Some(256), 4));
        assert_eq!(runs.at(3), place(Some(259), 1));
        assert_eq!(runs.at(4), place(None, 3));
        assert_eq!(runs.at(8), place(Some(255), 1));
        assert_eq!(runs.at(9), None);
        assert_eq!(runs.count(), 3);
        // The next piece counts from 0 again.
        runs.append(9, &[0x11, 1, 5], 1000).unwrap();
        assert_eq!(runs.at(9), place(Some(5), 1));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let refused = |lowest, encoded: &[u8]| Runs::default().append(lowest, encoded, 100).unwrap_err();
        assert_eq!(refused(1, &[0]), "a piece of its list of clusters is missing");
        assert_eq!(refused(0, &[0x21, 4, 0]), "its list of clusters breaks off");
        assert_eq!(
            refused(0, &[0x11, 4, 97]),
            "its list of clusters leaves the volume"
        );
        assert_eq!(
            refused(0, &[0x11, 4, 0xFF]),
            "its list of clusters leaves the volume"
        );
        assert_eq!(
            refused(0, &[0x11, 0, 1]),
            "its list of clusters has a run of an impossible length"
        );
        assert_eq!(
            refused(0, &[0x10, 1]),
            "its list of clusters has a run of an impossible length"
        );
        assert!(Runs::default().append(0, &[0x9F; 40], u64::MAX).is_err());
    }

    proptest! {
        #[test]
        fn every_place_is_the_one_that_was_encoded(
            model in proptest::collection::vec((1u64..300, proptest::option::of(0u64..100_000)), 1..30)
        ) {
            let mut encoded = Vec::new();
            let mut before = 0i64;
            for (len, lcn) in &model {
                match lcn {
                    None => encoded.push(0x02),
                    Some(_) => encoded.push(0x32),
                }
                encoded.extend_from_slice(&(*len as u16).to_le_bytes());
                if let Some(lcn) = lcn {
                    let delta = *lcn as i64 - before;
                    before = *lcn as i64;
                    encoded.extend_from_slice(&delta.to_le_bytes()[..3]);
                }
            }
            let mut runs = Runs::default();
            runs.append(0, &encoded, 200_000).unwrap();
            let mut vcn = 0;
            for (len, lcn) in &model {
                for step in 0..*len {
                    prop_assert_eq!(runs.at(vcn), Some(Place {
                        lcn: lcn.map(|lcn| lcn + step),
                        clusters: len - step,
                    }));
                    vcn += 1;
                }
            }
            prop_assert_eq!(runs.at(vcn), None);
        }

        #[test]
        fn garbage_is_bounded(encoded in proptest::collection::vec(any::<u8>(), 0..64), vcn in any::<u64>()) {
            let mut runs = Runs::default();
            let _ = runs.append(0, &encoded, u64::MAX);
            let _ = runs.at(vcn);
        }
    }
}
