//! What this processor can do, and how fast.

use crate::Level;
use crate::costs::Costs;

/// Whether code of that level runs here.
#[cfg(feature = "std")]
pub(crate) fn has(level: Level) -> bool {
    // The macro wants literals.
    match level {
        Level::Avx512Ifma => {
            std::is_x86_feature_detected!("avx512f")
                && std::is_x86_feature_detected!("avx512bw")
                && std::is_x86_feature_detected!("avx512vl")
                && std::is_x86_feature_detected!("avx512ifma")
        }
        Level::Avx2 => std::is_x86_feature_detected!("avx2"),
    }
}

/// Without the standard library there is nobody to ask.
#[cfg(not(feature = "std"))]
pub(crate) const fn has(_: Level) -> bool {
    false
}

/// What fits the processor, for sealing and for opening.
pub(crate) fn costs(level: Level) -> [&'static Costs; 2] {
    match level {
        Level::Avx512Ifma if is_wide() => [&Costs::WIDE_AVX512; 2],
        Level::Avx512Ifma => [&Costs::AVX512; 2],
        Level::Avx2 => [&Costs::AVX2_SEAL, &Costs::AVX2_OPEN],
    }
}

/// Whether this is known to be a processor with four units of 512 bits: AMD's Zen 5 but for its mobile models. AMD has a
/// bit for it (CPUID function 8000001A), which virtual machines do not show.
#[cfg(not(miri))]
fn is_wide() -> bool {
    use core::arch::x86_64::__cpuid;
    let vendor = __cpuid(0);
    let is_amd = [vendor.ebx, vendor.edx, vendor.ecx] == [*b"Auth", *b"enti", *b"cAMD"].map(u32::from_le_bytes);
    let version = __cpuid(1).eax;
    let family = (version >> 8 & 0xf) + (version >> 20 & 0xff);
    let model = version >> 4 & 0xf | version >> 12 & 0xf0;
    is_amd && family >= 0x1a && !matches!(model, 0x20..=0x2f | 0x60..=0x6f)
}

#[cfg(miri)]
const fn is_wide() -> bool {
    false
}
