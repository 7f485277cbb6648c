//! The instruction set of this machine.

use std::sync::OnceLock;

/// What a kernel is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each architecture makes some of them")]
pub(in crate::engine::cpu) enum Isa {
    /// Plain Rust.
    Scalar,
    /// AVX2, FMA and F16C.
    Avx2,
    /// Those, and AVX-512 F, BW, DQ, VL and VNNI.
    Avx512,
    /// NEON, which every aarch64 has.
    Neon,
}

impl Isa {
    /// The last of [`Self::all`], found once.
    pub(super) fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::all().last().unwrap_or(Self::Scalar))
    }

    /// Everything this machine can run, the best last.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        [Self::Scalar, Self::Avx2, Self::Avx512, Self::Neon]
            .into_iter()
            .filter(|isa| isa.is_here())
    }

    fn is_here(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                Self::Avx2.is_here()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => true,
            #[allow(unreachable_patterns, reason = "what another architecture has")]
            _ => false,
        }
    }
}

/// Calls the function of that name in the module of an instruction set that is there, with
/// arguments whose extents have been checked.
macro_rules! on {
    ($isa:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        #[allow(unused_unsafe, reason = "some instruction sets need none for some functions")]
        match $isa {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa` is made by detection only, and the caller has checked the extents.
            $crate::engine::cpu::arch::Isa::Avx2 => unsafe {
                $crate::engine::cpu::arch::avx2::$function($($argument),*)
            },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Isa` is made by detection only, and the caller has checked the extents.
            $crate::engine::cpu::arch::Isa::Avx512 => unsafe {
                $crate::engine::cpu::arch::avx512::$function($($argument),*)
            },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: `Isa` is made by detection only, and the caller has checked the extents.
            $crate::engine::cpu::arch::Isa::Neon => unsafe {
                $crate::engine::cpu::arch::neon::$function($($argument),*)
            },
            _ => $crate::engine::cpu::arch::scalar::$function($($argument),*),
        }
    }};
}

pub(super) use on;
