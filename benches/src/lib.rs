//! fastdraft-benches
