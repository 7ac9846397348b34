//! The instructions of pickles (protocol 2) that a dictionary of tensors is written with, and no other.
//! See `pickletools.py` of Python for what each does.

use super::{Storage, View};
use crate::onnx::DType;
use std::collections::HashMap;
use std::rc::Rc;

/// Instructions of one pickle, and bytes of one text: more than any network needs.
const MOST_STEPS: usize = 1_000_000;
const MOST_TEXT: usize = 4096;
/// Axes of a tensor.
const MOST_AXES: usize = 16;

/// The names that a pickle may use, by module and name.
const NAMES: [(&str, &str, Name); 4] = [
    ("collections", "OrderedDict", Name::OrderedDict),
    ("torch._utils", "_rebuild_tensor_v2", Name::RebuildTensor),
    ("torch", "FloatStorage", Name::Storage(DType::F32)),
    ("torch", "LongStorage", Name::Storage(DType::I64)),
];

/// What a name of [`NAMES`] stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Name {
    OrderedDict,
    RebuildTensor,
    Storage(DType),
}

/// A value on the stack, quick to copy. What can be changed after it was made lies in the machine.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    /// A longer number, little-endian.
    Long(Rc<[u8]>),
    Text(Rc<str>),
    Name(Name),
    /// By their place in the machine.
    Tuple(usize),
    List(usize),
    Dict(usize),
    Storage(Rc<Storage>),
    Tensor(Rc<View>),
}

impl Value {
    /// What it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::None => "nothing",
            Self::Bool(_) | Self::Int(_) | Self::Long(_) => "a number",
            Self::Text(_) => "a text",
            Self::Name(_) => "a function or class",
            Self::Tuple(_) => "a tuple",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dictionary",
            Self::Storage(_) => "a storage",
            Self::Tensor(_) => "a tensor",
        }
    }
}

/// Follows the instructions of one pickle.
#[derive(Debug, Default)]
pub struct Machine {
    stack: Vec<Value>,
    /// Where the stack stood at each open mark.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    /// The items of tuples and lists; the keys and values of dictionaries by turns.
    held: Vec<Vec<Value>>,
}

type Done<T = ()> = Result<T, String>;

/// Its next bytes; the pickle ends where they do.
struct Code<'a, 'b>(&'a mut &'b [u8]);

impl<'b> Code<'_, 'b> {
    fn take(&mut self, count: usize) -> Done<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or("is cut off within a pickle")?;
        *self.0 = rest;
        Ok(taken)
    }

    fn bytes<const N: usize>(&mut self) -> Done<[u8; N]> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn byte(&mut self) -> Done<u8> {
        self.bytes().map(|[byte]| byte)
    }

    fn text(&mut self, length: usize) -> Done<String> {
        if length > MOST_TEXT {
            return Err(format!("has a text of {length} bytes in a pickle; {MOST_TEXT} are the most"));
        }
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| "has a text that is not UTF-8".into())
    }

    /// Up to the end of the line.
    fn line(&mut self) -> Done<String> {
        let end = self.0.iter().take(MOST_TEXT).position(|byte| *byte == b'\n');
        let line = self.text(end.ok_or("has a name without an end in a pickle")?)?;
        self.byte().map(|_| line)
    }
}

impl Machine {
    /// Follows a pickle to its end, which `rest` then stands behind; gives its result.
    pub fn run(&mut self, rest: &mut &[u8]) -> Done<Value> {
        let mut code = Code(rest);
        for _ in 0..MOST_STEPS {
            let instruction = code.byte()?;
            if instruction == b'.' {
                return match (self.stack.pop(), self.stack.is_empty(), self.marks.is_empty()) {
                    (Some(value), true, true) => Ok(value),
                    _ => Err("has a pickle that ends with other than one result".into()),
                };
            }
            self.step(instruction, &mut code)?;
        }
        Err(format!("has a pickle of more than {MOST_STEPS} instructions"))
    }

    fn step(&mut self, instruction: u8, code: &mut Code<'_, '_>) -> Done {
        match instruction {
            0x80 => match code.byte()? {
                2 => Ok(()),
                other => Err(format!("has a pickle of protocol {other}; torch's older format has 2")),
            },
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'K' => code.byte().and_then(|n| self.push(Value::Int(n.into()))),
            b'M' => code.bytes().and_then(|b| self.push(Value::Int(u16::from_le_bytes(b).into()))),
            b'J' => code.bytes().and_then(|b| self.push(Value::Int(i32::from_le_bytes(b).into()))),
            0x8a => {
                let length = code.byte()?;
                let number = code.take(length.into())?.to_vec();
                self.push(long(number))
            }
            b'X' => {
                let length = u32::from_le_bytes(code.bytes()?) as usize;
                let text = code.text(length)?;
                self.push(Value::Text(text.into()))
            }
            b'c' => {
                let (module, name) = (code.line()?, code.line()?);
                self.push(Value::Name(known(&module, &name)?))
            }
            b'q' => code.byte().and_then(|place| self.remember(place.into())),
            b'r' => code.bytes().and_then(|b| self.remember(u32::from_le_bytes(b))),
            b'h' => code.byte().and_then(|place| self.recall(place.into())),
            b'j' => code.bytes().and_then(|b| self.recall(u32::from_le_bytes(b))),
            other => self.compose(other),
        }
    }

    /// The instructions that make values of others.
    fn compose(&mut self, instruction: u8) -> Done {
        match instruction {
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b')' => self.hold(Vec::new()).and_then(|place| self.push(Value::Tuple(place))),
            b']' => self.hold(Vec::new()).and_then(|place| self.push(Value::List(place))),
            b'}' => self.hold(Vec::new()).and_then(|place| self.push(Value::Dict(place))),
            0x85..=0x87 => {
                let items = self.pop_last(usize::from(instruction - 0x84))?;
                self.hold(items).and_then(|place| self.push(Value::Tuple(place)))
            }
            b't' => {
                let items = self.pop_marked()?;
                self.hold(items).and_then(|place| self.push(Value::Tuple(place)))
            }
            b'a' => self.pop_last(1).and_then(|items| self.extend(items, false)),
            b'e' => self.pop_marked().and_then(|items| self.extend(items, false)),
            b's' => self.pop_last(2).and_then(|items| self.extend(items, true)),
            b'u' => self.pop_marked().and_then(|items| self.extend(items, true)),
            b'Q' => self.storage(),
            b'R' => self.call(),
            // The state of a dictionary are notes of versions (`_metadata`).
            b'b' => {
                self.pop()?;
                match self.stack.last() {
                    Some(Value::Dict(_)) => Ok(()),
                    _ => Err("has a pickle that sets the state of other than a dictionary".into()),
                }
            }
            other => Err(format!(
                "has a pickle with the instruction {other:#04x}, which no dictionary of tensors needs; it was not executed"
            )),
        }
    }

    fn push(&mut self, value: Value) -> Done {
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Done<Value> {
        let bottom = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= bottom {
            return Err("has a pickle that takes what is not there".into());
        }
        self.stack.pop().ok_or_else(|| "has a pickle that takes what is not there".into())
    }

    fn pop_last(&mut self, count: usize) -> Done<Vec<Value>> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Done<Vec<_>>>()?;
        items.reverse();
        Ok(items)
    }

    fn pop_marked(&mut self) -> Done<Vec<Value>> {
        let mark = self.marks.pop().ok_or("has a pickle without a mark where one is needed")?;
        Ok(self.stack.split_off(mark))
    }

    fn remember(&mut self, place: u32) -> Done {
        let value = self.stack.last().ok_or("has a pickle that remembers nothing")?;
        self.memo.insert(place, value.clone());
        Ok(())
    }

    fn recall(&mut self, place: u32) -> Done {
        let value = self.memo.get(&place).ok_or("has a pickle that recalls what it never made")?.clone();
        self.push(value)
    }

    fn hold(&mut self, items: Vec<Value>) -> Done<usize> {
        self.held.push(items);
        Ok(self.held.len() - 1)
    }

    /// Adds to the list or dictionary on the stack.
    fn extend(&mut self, items: Vec<Value>, pairs: bool) -> Done {
        let place = match self.stack.last() {
            Some(Value::List(place)) if !pairs => *place,
            Some(Value::Dict(place)) if pairs && items.len().is_multiple_of(2) => *place,
            _ => return Err("has a pickle that adds to what is no list or dictionary".into()),
        };
        self.held[place].extend(items);
        Ok(())
    }

    /// What a tuple or list holds.
    pub fn items(&self, value: &Value) -> Done<&[Value]> {
        match value {
            Value::Tuple(place) | Value::List(place) => Ok(&self.held[*place]),
            other => Err(format!("has {} where a list should be", other.kind())),
        }
    }

    /// The keys and values of a dictionary.
    pub fn entries<'a>(
        &'a self,
        value: &Value,
    ) -> Done<impl Iterator<Item = (&'a Value, &'a Value)> + use<'a>> {
        match value {
            Value::Dict(place) => {
                Ok(self.held[*place].as_chunks::<2>().0.iter().map(|[key, value]| (key, value)))
            }
            other => Err(format!("has {} where a dictionary should be", other.kind())),
        }
    }

    /// `("storage", type, key, device, numbers, None)`.
    fn storage(&mut self) -> Done {
        let told = self.pop()?;
        let storage = match self.items(&told)? {
            [
                Value::Text(word),
                Value::Name(Name::Storage(dtype)),
                Value::Text(key),
                Value::Text(_),
                Value::Int(len),
                Value::None,
            ] if **word == *"storage" => {
                let len = usize::try_from(*len).map_err(|_| "has a storage of a negative length")?;
                Storage { key: key.to_string(), dtype: *dtype, len }
            }
            _ => return Err("has a persistent object that is no storage of numbers".into()),
        };
        self.push(Value::Storage(Rc::new(storage)))
    }

    /// An empty ordered dictionary, or a tensor.
    fn call(&mut self) -> Done {
        let (given, name) = (self.pop()?, self.pop()?);
        let made = match (&name, self.items(&given)?) {
            (Value::Name(Name::OrderedDict), []) => Value::Dict(self.hold(Vec::new())?),
            // The last is a dictionary of hooks, for the derivative alone.
            (
                Value::Name(Name::RebuildTensor),
                [Value::Storage(storage), Value::Int(offset), shape, strides, Value::Bool(_), Value::Dict(_)],
            ) => Value::Tensor(Rc::new(self.view(storage, *offset, shape, strides)?)),
            _ => {
                return Err(format!("has a pickle that calls {} in a way that no tensor needs", name.kind()));
            }
        };
        self.push(made)
    }

    fn view(&self, storage: &Rc<Storage>, offset: i64, shape: &Value, strides: &Value) -> Done<View> {
        let sizes = |value: &Value| {
            let size = |value: &Value| match value {
                Value::Int(n) => {
                    usize::try_from(*n).map_err(|_| "has a tensor of a negative size".to_string())
                }
                other => Err(format!("has {} for a tensor's size", other.kind())),
            };
            self.items(value)?.iter().take(MOST_AXES + 1).map(size).collect::<Done<Vec<usize>>>()
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        let offset = usize::try_from(offset).map_err(|_| "has a tensor at a negative place")?;
        if shape.len() > MOST_AXES || shape.len() != strides.len() {
            return Err(format!("has a tensor of {} axes and {} strides", shape.len(), strides.len()));
        }
        Ok(View { storage: Rc::clone(storage), offset, shape, strides })
    }
}

fn long(bytes: Vec<u8>) -> Value {
    if bytes.len() > 8 {
        return Value::Long(bytes.into());
    }
    let sign = if bytes.last().is_some_and(|byte| byte & 0x80 != 0) { 0xff } else { 0 };
    let mut whole = [sign; 8];
    whole[..bytes.len()].copy_from_slice(&bytes);
    Value::Int(i64::from_le_bytes(whole))
}

fn known(module: &str, name: &str) -> Done<Name> {
    let found = NAMES.iter().find(|(m, n, _)| (*m, *n) == (module, name));
    found.map(|(_, _, name)| *name).ok_or_else(|| {
        format!("has a pickle that names {module}.{name}, which no dictionary of tensors needs; it was not executed")
    })
}
