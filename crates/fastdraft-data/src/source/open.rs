//! Files that may be compressed.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

use crate::DataError;

/// How a file is compressed, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    pub(crate) fn of(path: &Path) -> Self {
        let is = |name: &str| {
            path.extension()
                .is_some_and(|extension| extension.eq_ignore_ascii_case(name))
        };
        if is("gz") {
            Self::Gzip
        } else if is("zst") || is("zstd") {
            Self::Zstd
        } else {
            Self::None
        }
    }
}

/// Opens a file for reading; `.gz`, `.zst` and `.zstd` are decompressed on the way.
///
/// # Errors
///
/// [`DataError::Io`] when it cannot be opened.
///
/// ```no_run
/// use std::io::Read;
///
/// let mut text = String::new();
/// fastdraft_data::source::open("notes.txt.zst")?.read_to_string(&mut text).unwrap();
/// # Ok::<(), fastdraft_data::DataError>(())
/// ```
pub fn open(path: impl AsRef<Path>) -> Result<Box<dyn BufRead + Send>, DataError> {
    let path = path.as_ref();
    let file = BufReader::new(File::open(path).map_err(DataError::io(path))?);
    Ok(match Compression::of(path) {
        Compression::None => Box::new(file),
        Compression::Gzip => Box::new(BufReader::new(MultiGzDecoder::new(file))),
        Compression::Zstd => Box::new(BufReader::new(ZstdReader::new(file))),
    })
}

/// All frames of a zstd stream.
struct ZstdReader<R> {
    source: R,
    decoder: FrameDecoder,
    in_frame: bool,
}

impl<R: BufRead> ZstdReader<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            decoder: FrameDecoder::new(),
            in_frame: false,
        }
    }

    /// Begins the next frame; false at the end of the stream.
    fn next_frame(&mut self) -> io::Result<bool> {
        while !self.source.fill_buf()?.is_empty() {
            match self.decoder.reset(&mut self.source) {
                Ok(()) => return Ok(true),
                Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                    length,
                    ..
                })) => {
                    let length = u64::from(length);
                    let skipped = io::copy(&mut (&mut self.source).take(length), &mut io::sink())?;
                    if skipped < length {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(false)
    }

    fn end_frame(&mut self) -> io::Result<()> {
        self.in_frame = false;
        let (stored, found) = (
            self.decoder.get_checksum_from_data(),
            self.decoder.get_calculated_checksum(),
        );
        if stored.is_some() && stored != found {
            return Err(io::Error::other("a zstd frame has the wrong checksum"));
        }
        Ok(())
    }
}

impl<R: BufRead> Read for ZstdReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            if !self.in_frame {
                self.in_frame = self.next_frame()?;
                if !self.in_frame {
                    return Ok(0);
                }
            }
            while self.decoder.can_collect() == 0 && !self.decoder.is_finished() {
                self.decoder
                    .decode_blocks(&mut self.source, BlockDecodingStrategy::UptoBlocks(1))
                    .map_err(io::Error::other)?;
            }
            let read = self.decoder.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.end_frame()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        ZstdReader::new(bytes).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn frames_follow_each_other_and_some_are_skipped() {
        let frame = |text: &str| compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        let skipped = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9];
        let bytes = [&frame("one "), &skipped[..], &frame(""), &frame("two")].concat();
        assert_eq!(unpack(&bytes).unwrap(), b"one two");
        assert_eq!(unpack(&[]).unwrap(), b"");
        assert!(unpack(&bytes[..bytes.len() - 2]).is_err());
        assert!(unpack(&skipped[..9]).is_err());
        assert!(unpack(b"no frame at all").is_err());
    }

    #[test]
    fn damage_never_panics() {
        let text: String = (0..400).map(|i| format!("line {} ", i * i)).collect();
        let good = compress_to_vec(text.as_bytes(), CompressionLevel::Fastest);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x55;
            let _ = unpack(&bad);
            assert!(unpack(&good[..at]).is_err() || at == 0);
        }
    }
}
