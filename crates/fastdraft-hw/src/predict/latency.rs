//! Seconds of a pass as a function of its tokens.

use crate::error::HwError;
use crate::profile::Profile;
use crate::shape::DecoderShape;

/// Seconds of a pass over a number of tokens.
pub trait Latency {
    /// Seconds of a pass over `tokens` tokens, finite and above 0.
    fn seconds(&self, tokens: u32) -> f64;
}

impl<F: Fn(u32) -> f64> Latency for F {
    fn seconds(&self, tokens: u32) -> f64 {
        self(tokens)
    }
}

/// Measured passes, with straight lines between them and on from the last two.
#[derive(Debug, Clone, PartialEq)]
pub struct MeasuredLatency(Vec<(u32, f64)>);

impl MeasuredLatency {
    /// From pairs of tokens and seconds, in any order.
    ///
    /// # Errors
    ///
    /// [`HwError::OutOfRange`] without any pair, for two with the same tokens, or a time that is not
    /// above 0.
    pub fn new(mut points: Vec<(u32, f64)>) -> Result<Self, HwError> {
        points.sort_by_key(|(tokens, _)| *tokens);
        let refuse = |value: f64, accepted: &'static str| HwError::OutOfRange {
            name: "latency",
            value,
            accepted,
        };
        if points.is_empty() {
            return Err(refuse(f64::NAN, "given for at least one number of tokens"));
        }
        if let Some((_, value)) = points.iter().find(|(_, s)| !(s.is_finite() && *s > 0.0)) {
            return Err(refuse(*value, "finite and above 0"));
        }
        if let Some(pair) = points.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(refuse(pair[1].1, "given once for each number of tokens"));
        }
        Ok(Self(points))
    }
}

impl Latency for MeasuredLatency {
    fn seconds(&self, tokens: u32) -> f64 {
        let points = &self.0;
        let after = points.partition_point(|(at, _)| *at < tokens);
        if let Some(&(at, seconds)) = points.get(after)
            && (at == tokens || after == 0)
        {
            return seconds;
        }
        // The last two when `tokens` is beyond them all.
        let right = after.min(points.len() - 1);
        let Some(left) = right.checked_sub(1) else {
            return points[right].1;
        };
        let ((x0, y0), (x1, y1)) = (points[left], points[right]);
        let slope = (y1 - y0) / f64::from(x1 - x0);
        (y1 + slope * (f64::from(tokens) - f64::from(x1))).max(f64::MIN_POSITIVE)
    }
}

/// The longer of streaming the weights once and the arithmetic, plus an overhead for each layer
/// (the roofline of a pass, Williams, Waterman and Patterson, CACM 52(4), 2009).
#[derive(Debug, Clone, PartialEq)]
pub struct RooflineLatency {
    stream: f64,
    token: f64,
    overhead: f64,
}

/// Operations of a layer that each cost a launch: seven products, two norms, attention, two sums.
const LAUNCHES: f64 = 12.0;

impl RooflineLatency {
    /// A pass of `shape` on `profile` with weights of `weight_bytes` bytes.
    #[must_use]
    pub fn new(shape: &DecoderShape, profile: &Profile, weight_bytes: f64) -> Self {
        let parameters = shape.pass_parameters() as f64;
        let launch = profile.launch_overhead.as_ref();
        Self {
            stream: parameters * weight_bytes / profile.bandwidth.value,
            token: 2.0 * parameters / profile.matmul.value,
            overhead: shape.layers as f64
                * LAUNCHES
                * launch.map_or(0.0, |overhead| overhead.value),
        }
    }
}

impl Latency for RooflineLatency {
    fn seconds(&self, tokens: u32) -> f64 {
        self.stream.max(self.token * f64::from(tokens)) + self.overhead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measured_points_are_met_and_joined() {
        let latency = MeasuredLatency::new(vec![(4, 8.0), (1, 2.0), (2, 3.0)]).unwrap();
        for (tokens, seconds) in [(1, 2.0), (2, 3.0), (3, 5.5), (4, 8.0), (6, 13.0), (0, 2.0)] {
            assert!(
                (latency.seconds(tokens) - seconds).abs() < 1e-12,
                "{tokens}"
            );
        }
        assert_eq!(
            MeasuredLatency::new(vec![(3, 5.0)]).unwrap().seconds(9),
            5.0
        );
    }

    #[test]
    fn bad_points_are_refused() {
        for points in [
            vec![],
            vec![(1, 0.0)],
            vec![(1, f64::NAN)],
            vec![(1, 1.0), (1, 2.0)],
        ] {
            assert!(MeasuredLatency::new(points).is_err());
        }
    }

    #[test]
    fn few_tokens_are_free_until_arithmetic_takes_over() {
        let mut profile = Profile::named("h100").unwrap();
        profile.launch_overhead = None;
        let shape = DecoderShape::known("meta-llama/Llama-3.1-8B-Instruct").unwrap();
        let latency = RooflineLatency::new(&shape, &profile, 2.0);
        assert_eq!(latency.seconds(1), latency.seconds(8));
        // 7.5·10⁹ parameters in 2 bytes over 3.35 TB/s.
        let stream = shape.pass_parameters() as f64 * 2.0 / 3.35e12;
        assert!((latency.seconds(1) / stream - 1.0).abs() < 1e-12);
        assert!(latency.seconds(4096) > 10.0 * latency.seconds(1));
        let launches = RooflineLatency::new(&shape, &Profile::named("h100").unwrap(), 2.0);
        let overhead = launches.seconds(1) - latency.seconds(1);
        assert!((overhead / (32.0 * 12.0 * 5e-6) - 1.0).abs() < 1e-9);
    }
}
