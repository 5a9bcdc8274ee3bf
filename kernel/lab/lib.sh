# What the scripts of the laboratory share: where things are, and how to say that something is missing. Sourced, not run.
#
# KERNEL_LAB is the folder of everything that is downloaded or built (default: target/kernel-lab in the working copy). It may be
# deleted at any time. Exit status 77 means: cannot be done on this machine, the reason has been printed.

lab=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${KERNEL_LAB:-$(cd "$lab/../.." && pwd)/target/kernel-lab}
mkdir -p "$cache"
cache=$(cd "$cache" && pwd)

# The series of stock kernels that the module is for, and the Debian suite each comes from. The usual ones are looked at in every run;
# they can be built for with this machine's compiler, the others need that of their own Debian (toolchain).
# "debug" is no series of Debian's: debug-kernel builds it from the source of one.
usual=(6.1 6.12)
declare -A suite_of=([6.1]=bookworm [6.12]=bookworm-backports [7.2]=trixie-backports [7.3]=trixie-backports [debug]=)

say() { printf '%s\n' "$*" >&2; }

# Ends the script as failed, for a reason that is somebody's fault.
die() { say "${0##*/}: $*"; exit 1; }

# Ends the script as skipped, for a reason that is nobody's fault.
skip() { say "${LAB_SKIPS_AS:-SKIPPED}: $*"; exit 77; }

have() { command -v "$1" >/dev/null 2>&1; }

# The folder into which the packages of a series are unpacked.
kernel_root() { printf '%s/kernels/%s' "$cache" "$1"; }

# The release of the unpacked kernel of a series, such as 6.1.0-56-amd64.
kernel_release() { cat "$(kernel_root "$1")/release" 2>/dev/null || die "kernel $1 is not there; run kernel/lab/fetch $1"; }

known_series() { [ -n "${suite_of[$1]+known}" ] || die "unknown kernel series '$1'; known are: ${!suite_of[*]}"; }

# The Debian whose compiler a series needs; nothing if this machine's will do.
toolchain_of() {
    case ${suite_of[$1]:-} in
        trixie*) echo trixie ;;
    esac
}
