//! How much stack the entry points of a program take: the largest frame and the deepest chain of calls from each.
//!
//!     frames PROGRAM FRAME CHAIN ENTRY...
//!
//! Frames are what the compiler says (section `.stack_sizes`); who calls whom is read from the disassembly of `objdump`, so that
//! what was inlined and what was not is what the processor sees. Status 1 if a frame of a function reachable from
//! an ENTRY is larger than FRAME bytes, a chain longer than CHAIN bytes, a function calls itself by any way, or a function
//! has no known frame.

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, ExitCode};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What a call puts on the stack: the address to return to.
const RETURN: u64 = 8;

#[derive(Default)]
struct Function {
    name: String,
    frame: Option<u64>,
    calls: BTreeSet<u64>,
}

/// All functions of a program by address.
struct Program(BTreeMap<u64, Function>);

/// The deepest chain from a function.
#[derive(Clone)]
struct Chain {
    bytes: u64,
    functions: Vec<u64>,
}

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(problem) => {
            eprintln!("frames: {problem}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<bool> {
    let [path, frame, chain, entries @ ..] = arguments else {
        return Err("usage: frames PROGRAM FRAME CHAIN ENTRY...".into());
    };
    let (frame_limit, chain_limit): (u64, u64) = (frame.parse()?, chain.parse()?);
    let program = Program::read(path)?;
    let mut well = true;
    for entry in entries {
        let start = program.find(entry).ok_or_else(|| format!("{path} has no function `{entry}`"))?;
        let mut known = BTreeMap::new();
        let deepest = program.deepest(start, &mut Vec::new(), &mut known)?;
        let largest = known.keys().max_by_key(|at| program.0[at].frame).ok_or("no function is reachable")?;
        let frame = program.0[largest].frame.unwrap_or(0);
        println!(
            "{entry}: {} bytes deep, of {chain_limit}; largest frame {frame} bytes, of {frame_limit} ({}); {} functions",
            deepest.bytes,
            program.0[largest].name,
            known.len()
        );
        if frame > frame_limit || deepest.bytes > chain_limit {
            well = false;
            println!("TOO MUCH; the deepest chain:");
            for function in deepest.functions.iter().map(|at| &program.0[at]) {
                println!("  {:6} {}", function.frame.unwrap_or(0), function.name);
            }
        }
    }
    Ok(well)
}

impl Program {
    fn read(path: &str) -> Result<Self> {
        let bytes = std::fs::read(path)?;
        let file = object::File::parse(&*bytes)?;
        let mut functions = BTreeMap::<u64, Function>::new();
        for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.is_definition()) {
            functions.entry(symbol.address()).or_default().name =
                format!("{:#}", rustc_demangle::demangle(symbol.name()?));
        }
        let sizes = file.section_by_name(".stack_sizes").ok_or("it was built without -Z emit-stack-sizes")?;
        let mut sizes = sizes.data()?;
        while let Some((address, rest)) = sizes.split_first_chunk() {
            let (size, rest) = leb128(rest).ok_or("section .stack_sizes ends early")?;
            let address = u64::from_le_bytes(*address);
            // Functions that the linker threw away stand at address zero.
            if let Some(function) = functions.get_mut(&address) {
                function.frame = Some(size);
            }
            sizes = rest;
        }
        let output = Command::new("objdump").args(["-d", "--no-show-raw-insn", path]).output()?;
        if !output.status.success() {
            return Err(format!("objdump: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let mut program = Self(functions);
        program.read_calls(&String::from_utf8(output.stdout)?);
        Ok(program)
    }

    /// Takes every mention of another function's first address for a call: jumps to it are calls in place of a return,
    /// and loading it into a register comes before a call through that register.
    fn read_calls(&mut self, disassembly: &str) {
        let mut current = None;
        for line in disassembly.lines() {
            if let Some(address) = line.split_once(" <").and_then(|(at, rest)| rest.ends_with(">:").then_some(at)) {
                current = u64::from_str_radix(address, 16).ok();
                continue;
            }
            let Some((_, instruction)) = line.split_once(":\t") else { continue };
            let words = instruction.split(|c: char| !c.is_ascii_alphanumeric());
            let numbers = words.filter_map(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
            // A jump to its own beginning is a loop, a call of it is not.
            let counts = |target: &u64| Some(*target) != current || instruction.starts_with("call");
            let targets: Vec<u64> = numbers.filter(|target| counts(target) && self.0.contains_key(target)).collect();
            if let Some(function) = current.and_then(|at| self.0.get_mut(&at)) {
                function.calls.extend(targets);
            }
        }
    }

    fn find(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(_, function)| function.name == name).map(|(at, _)| *at)
    }

    fn deepest(&self, at: u64, above: &mut Vec<u64>, known: &mut BTreeMap<u64, Chain>) -> Result<Chain> {
        if let Some(chain) = known.get(&at) {
            return Ok(chain.clone());
        }
        let function = &self.0[&at];
        if above.contains(&at) {
            return Err(format!("{} is on its own stack: how deep it gets cannot be told", function.name).into());
        }
        let frame =
            function.frame.ok_or_else(|| format!("how large the frame of {} is, is not known", function.name))?;
        above.push(at);
        let mut deepest = Chain { bytes: 0, functions: Vec::new() };
        for callee in &function.calls {
            let chain = self.deepest(*callee, above, known)?;
            if chain.bytes > deepest.bytes {
                deepest = chain;
            }
        }
        above.pop();
        deepest.bytes += frame + RETURN;
        deepest.functions.insert(0, at);
        known.insert(at, deepest.clone());
        Ok(deepest)
    }
}

/// An unsigned number of DWARF, and what comes behind it.
fn leb128(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[at + 1..]));
        }
    }
    None
}
