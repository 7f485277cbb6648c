//! Packed rows in memory-mapped files that notice when they are damaged.
//!
//! A shard is one file of equally long rows with their loss mask and document boundaries. The
//! bytes are described in the handbook, page "Shards", so that other programs can read them. A
//! folder of shards with an `index.json` is a [`ShardSet`].
//!
//! ```
//! use fastdraft_data::Packer;
//! use fastdraft_data::shard::{ShardSet, ShardSpec, write_set};
//!
//! let mut packer = Packer::new(3, 0);
//! packer.push_document(&[7, 8]);
//! packer.push_document(&[9, 6]);
//! let packed = packer.finish()?;
//!
//! let folder = tempfile::tempdir().unwrap();
//! let spec = ShardSpec::new(3, 10, 0xfeed);
//! write_set(folder.path(), spec, &packed, 1)?;
//! let set = ShardSet::open(folder.path(), 0xfeed)?;
//! assert_eq!((set.shards().len(), set.rows()), (2, 2));
//! assert_eq!(set.read(&[1, 0])?.ids, [6, 0, 0, 0, 7, 8, 0, 9]);
//!
//! let other = ShardSet::open(folder.path(), 0xbeef).unwrap_err();
//! assert!(other.to_string().contains("made with vocabulary"));
//! # Ok::<(), fastdraft_data::DataError>(())
//! ```

mod block;
mod header;
mod index;
mod reader;
mod set;
mod writer;

pub use header::{Dtype, ShardHeader, ShardSpec};
pub use index::{INDEX_FILE, ShardEntry, ShardIndex};
pub use reader::Shard;
pub use set::{ShardSet, ShardSetWriter, write_set};
pub use writer::ShardWriter;
