//! Memory that is kept between uses.

/// Float32 values that begin on a line of the cache.
#[derive(Default)]
pub(crate) struct Aligned(Vec<f32>);

/// Values on a line of 64 bytes.
const LINE: usize = 16;

impl Aligned {
    /// Room for `count` values, which are whatever was there before.
    pub(crate) fn room(&mut self, count: usize) -> &mut [f32] {
        if self.0.len() < count + LINE {
            // Not `resize`, which would copy.
            self.0 = vec![0.0; count + LINE];
        }
        let start = self.start();
        &mut self.0[start..start + count]
    }

    /// All values, as [`room`](Self::room) left them.
    pub(crate) fn values(&self) -> &[f32] {
        &self.0[self.start()..]
    }

    fn start(&self) -> usize {
        // No more than 16 where addresses are what they are.
        self.0.as_ptr().align_offset(64).min(self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_until_there_are_too_few() {
        let mut memory = Aligned::default();
        assert!(memory.values().is_empty());
        for count in [1, 100, 1000] {
            let room = memory.room(count);
            assert_eq!((room.len(), room.as_ptr().addr() % 64), (count, 0));
            room.fill(count as f32);
            assert_eq!(memory.values()[..count], *vec![count as f32; count]);
        }
        assert_eq!(memory.room(3), [1000.0; 3]);
    }
}
