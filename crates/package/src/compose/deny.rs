//! The deny adapter: a component that answers in the host's place for what a dependency does not inherit.
//!
//! It is generated for each dependency from the dependency's own imports, so that it has exactly their shape,
//! whatever their version. Every function of a denied interface answers with the refusal that its type has: the
//! error `access-denied` or the nearest there is, an empty list, nothing. Nobody gets a resource of a denied interface
//! (opening one is refused), so that its methods are never called and trap.

use std::fmt::Write as _;

use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding};
use wit_parser::{
    Function, FunctionKind, Handle, Int, InterfaceId, LiftLowerAbi, ManglingAndAbi, Resolve,
    ResourceIntrinsic, SizeAlign, Type, TypeDefKind, TypeId, TypeOwner, WasmExport, WasmExportKind,
    WasmImport, WorldId, WorldItem, WorldKey,
    abi::{AbiVariant, FlatTypes, WasmType},
};

use super::capabilities::Inherited;

/// Functions are lifted synchronously, those of asynchronous types as well: no answer waits for anything.
const ABI: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// Where the adapter's memory begins to be used: zero stays a null pointer.
const FIRST_ADDRESS: usize = 16;

/// Names of error cases that say "you may not", best first.
const REFUSALS: &[&str] = &[
    "access-denied",
    "HTTP-request-denied",
    "destination-not-allowed",
    "undefined",
    "model-not-supported",
    "no-such-store",
];

/// Names of error cases that carry any text.
const OTHERS: &[&str] = &["other", "other-error", "io", "upstream", "internal-error", "error"];

/// An adapter.
pub(super) struct Adapter {
    /// The component.
    pub(super) bytes: Vec<u8>,
    /// What it exports, in place of the host.
    pub(super) interfaces: Vec<String>,
}

/// The adapter for a component; `None` if the component imports nothing that is denied.
///
/// # Errors
/// What is wrong with the component, or which function has no refusal.
pub(super) fn adapter(component: &[u8], inherited: &Inherited) -> Result<Option<Adapter>, String> {
    if *inherited == Inherited::All {
        return Ok(None);
    }
    let (mut resolve, world) = match wit_component::decode(component) {
        Ok(DecodedWasm::Component(resolve, world)) => (resolve, world),
        Ok(DecodedWasm::WitPackage(..)) => return Err("it holds types only, no code".to_owned()),
        Err(err) => return Err(format!("{err:#}")),
    };
    let denied = denied_interfaces(&resolve, world, inherited);
    if denied.is_empty() {
        return Ok(None);
    }
    let names: Vec<String> = denied.iter().filter_map(|id| resolve.id_of(*id)).collect();
    let mut text = "package gyre:deny;\nworld adapter {\n".to_owned();
    for name in &names {
        let _ = writeln!(text, "  export {};", escape(name));
    }
    text.push_str("}\n");
    let failed = |err: &dyn std::fmt::Display| format!("its imports cannot be denied: {err:#}");
    let package = resolve.push_source("deny.wit", &text).map_err(|err| failed(&err))?;
    let world = resolve.packages[package].worlds["adapter"];
    let mut module =
        wat::parse_str(Module::new(&resolve, world).write()).map_err(|err| failed(&err))?;
    wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)
        .map_err(|err| failed(&err))?;
    let bytes = ComponentEncoder::default()
        .module(&module)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|err| failed(&err))?;
    Ok(Some(Adapter { bytes, interfaces: names }))
}

/// A name with `%` where a part of it could be a keyword of WIT: `wasi:http/%types@0.2.0`.
pub(super) fn escape(name: &str) -> String {
    let (path, version) = match name.split_once('@') {
        Some((path, version)) => (path, format!("@{version}")),
        None => (name, String::new()),
    };
    let parts = |text: &str, by: char| {
        let escaped: Vec<_> = text.split(by).map(|part| format!("%{part}")).collect();
        escaped.join(&by.to_string())
    };
    match path.split_once('/') {
        Some((package, interface)) => format!("{}/%{interface}{version}", parts(package, ':')),
        None => format!("%{path}{version}"),
    }
}

/// The imported interfaces that are denied, and those that use their types: a host's `atomics` would not take a
/// bucket of ours.
fn denied_interfaces(resolve: &Resolve, world: WorldId, inherited: &Inherited) -> Vec<InterfaceId> {
    let imports: Vec<InterfaceId> = resolve.worlds[world]
        .imports
        .iter()
        .filter_map(|(key, item)| match (key, item) {
            (WorldKey::Interface(_), WorldItem::Interface { id, .. }) => Some(*id),
            _ => None,
        })
        .collect();
    let mut denied: Vec<InterfaceId> = imports
        .iter()
        .copied()
        .filter(|id| resolve.id_of(*id).is_some_and(|name| inherited.denies(&name)))
        .collect();
    loop {
        let users = imports.iter().copied().filter(|id| {
            !denied.contains(id)
                && resolve.interface_direct_deps(*id).any(|it| denied.contains(&it))
        });
        let users: Vec<InterfaceId> = users.collect();
        if users.is_empty() {
            return denied;
        }
        denied.extend(users);
    }
}

/// What calling a function comes to.
enum Reply {
    Trap,
    /// It has no result.
    Nothing,
    Value(Answer),
}

/// An answer, as far as it is known before a call.
enum Answer {
    /// A number of any kind; zero where there is nothing to say.
    Number(u64),
    Text(String),
    /// The text that is the function's first argument, in the locals 0 and 1.
    Argument,
    EmptyList,
    /// Of a variant, an enum, an option or a result.
    Case {
        index: usize,
        payload: Option<Box<Answer>>,
    },
    Fields(Vec<Answer>),
    /// A new resource, which is good for nothing.
    Resource(TypeId),
}

/// The core module of an adapter, as text.
struct Module<'a> {
    resolve: &'a Resolve,
    world: WorldId,
    sizes: SizeAlign,
    imports: Vec<(String, String)>,
    functions: String,
    /// What the memory begins with, from [`FIRST_ADDRESS`].
    data: Vec<u8>,
}

impl<'a> Module<'a> {
    fn new(resolve: &'a Resolve, world: WorldId) -> Self {
        let mut sizes = SizeAlign::default();
        sizes.fill(resolve);
        Self {
            resolve,
            world,
            sizes,
            imports: Vec::new(),
            functions: String::new(),
            data: Vec::new(),
        }
    }

    fn write(mut self) -> String {
        let exports: Vec<_> = self.resolve.worlds[self.world].exports.iter().collect();
        for (key, item) in &exports {
            let WorldItem::Interface { id, .. } = item else { continue };
            for function in self.resolve.interfaces[*id].functions.values() {
                self.write_function(key, *id, function);
            }
        }
        let heap = (FIRST_ADDRESS + self.data.len()).next_multiple_of(16);
        let pages = heap / 65536 + 1;
        let mut text = "(module\n".to_owned();
        for (index, (module, name)) in self.imports.iter().enumerate() {
            let result = if name.starts_with("[resource-new]") { " (result i32)" } else { "" };
            let _ = writeln!(
                text,
                "(import \"{module}\" \"{name}\" (func $import{index} (param i32){result}))"
            );
        }
        let data = self.data.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "\\{byte:02x}");
            text
        });
        let _ = write!(
            text,
            r#"(memory (export "memory") {pages})
(global $heap (mut i32) (i32.const {heap}))
(global $start i32 (i32.const {heap}))
(data (i32.const {FIRST_ADDRESS}) "{data}")
(func (export "cabi_realloc") (param $old i32) (param $old_size i32) (param $align i32) (param $size i32) (result i32)
  (local $at i32) (local $end i32) (local $missing i32)
  (local.set $at (i32.and
    (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
    (i32.sub (i32.const 0) (local.get $align))))
  (local.set $end (i32.add (local.get $at) (local.get $size)))
  (if (i32.lt_u (local.get $end) (local.get $at)) (then unreachable))
  (local.set $missing (i32.sub
    (i32.shr_u (i32.add (local.get $end) (i32.const 65535)) (i32.const 16)) (memory.size)))
  (if (i32.gt_s (local.get $missing) (i32.const 0)) (then
    (if (i32.eq (memory.grow (local.get $missing)) (i32.const -1)) (then unreachable))))
  (global.set $heap (local.get $end))
  (memory.copy (local.get $at) (local.get $old)
    (select (local.get $old_size) (local.get $size)
      (i32.lt_u (local.get $old_size) (local.get $size))))
  (local.get $at))
{}"#,
            self.functions
        );
        text.push_str(")\n");
        text
    }

    fn write_function(&mut self, key: &WorldKey, interface: InterfaceId, function: &Function) {
        let signature = self.resolve.wasm_signature(AbiVariant::GuestExport, function);
        let name = self.resolve.wasm_export_name(
            ABI,
            WasmExport::Func { interface: Some(key), func: function, kind: WasmExportKind::Normal },
        );
        let mut body = String::new();
        let types = |kind: &str, types: &[WasmType]| {
            types.iter().fold(String::new(), |mut text, ty| {
                let _ = write!(text, " ({kind} {})", core_type(*ty));
                text
            })
        };
        match self.reply(interface, function) {
            // What is spilled to memory would have to be read back to be let go of.
            _ if signature.indirect_params => body.push_str("  unreachable"),
            Reply::Trap => body.push_str("  unreachable"),
            Reply::Nothing => self.write_body(&mut body, key, function, None, signature.retptr),
            Reply::Value(answer) => {
                self.write_body(&mut body, key, function, Some(&answer), signature.retptr);
            }
        }
        let _ = writeln!(
            self.functions,
            "(func (export \"{name}\"){}{}\n{body})",
            types("param", &signature.params),
            types("result", &signature.results)
        );
    }

    fn write_body(
        &mut self,
        body: &mut String,
        key: &WorldKey,
        function: &Function,
        answer: Option<&Answer>,
        is_indirect: bool,
    ) {
        let address = self.allocate(function, is_indirect);
        if let (Some(answer), Some(ty), true) = (answer, &function.result, is_indirect) {
            self.store(body, key, address, ty, answer);
        }
        self.drop_arguments(body, function);
        body.push_str("  (global.set $heap (global.get $start))\n");
        match (answer, &function.result) {
            (Some(_), Some(_)) if is_indirect => {
                let _ = write!(body, "  (i32.const {address})");
            }
            (Some(answer), Some(ty)) => {
                let value = self.flat(key, ty, answer);
                body.push_str(&value);
            }
            _ => {}
        }
    }

    /// Room for a function's answer.
    fn allocate(&mut self, function: &Function, is_indirect: bool) -> usize {
        let Some(ty) = function.result.as_ref().filter(|_| is_indirect) else { return 0 };
        let address = (FIRST_ADDRESS + self.data.len()).next_multiple_of(8);
        let end = address + self.sizes.size(ty).size_wasm32();
        self.data.resize(end - FIRST_ADDRESS, 0);
        address
    }

    fn reply(&self, interface: InterfaceId, function: &Function) -> Reply {
        let functions = &self.resolve.interfaces[interface].functions;
        match function.kind {
            FunctionKind::Method(resource) | FunctionKind::AsyncMethod(resource) => {
                // Only what is made by a constructor, which cannot refuse, has methods that are called.
                let constructor = FunctionKind::Constructor(resource);
                if !functions.values().any(|other| other.kind == constructor) {
                    return Reply::Trap;
                }
            }
            FunctionKind::Constructor(resource) => {
                return Reply::Value(Answer::Resource(resource));
            }
            _ => {}
        }
        let Some(result) = &function.result else { return Reply::Nothing };
        let has_text = function.params.first().is_some_and(|param| param.ty == Type::String);
        let name = self.resolve.id_of(interface).unwrap_or_default();
        let name = name.split_once('@').map_or(name.as_str(), |(name, _)| name);
        self.value(result, name, has_text).map_or(Reply::Trap, Reply::Value)
    }

    /// The refusal of a type, or a value without content.
    fn value(&self, ty: &Type, interface: &str, has_text: bool) -> Option<Answer> {
        let Type::Id(id) = ty else {
            return match ty {
                Type::String => Some(Answer::Text(String::new())),
                Type::ErrorContext => None,
                _ => Some(Answer::Number(0)),
            };
        };
        let value = |ty: &Type| self.value(ty, interface, has_text);
        match &self.resolve.types[*id].kind {
            TypeDefKind::Type(ty) => value(ty),
            TypeDefKind::Record(record) => {
                let fields = record.fields.iter().map(|field| value(&field.ty));
                fields.collect::<Option<_>>().map(Answer::Fields)
            }
            TypeDefKind::Tuple(tuple) => {
                tuple.types.iter().map(value).collect::<Option<_>>().map(Answer::Fields)
            }
            TypeDefKind::Option(_) => Some(Answer::Case { index: 0, payload: None }),
            TypeDefKind::List(_) | TypeDefKind::Map(..) => Some(Answer::EmptyList),
            TypeDefKind::Flags(flags) if flags.flags.len() <= 32 => Some(Answer::Number(0)),
            TypeDefKind::Result(result) => {
                let payload = match &result.err {
                    Some(ty) => Some(Box::new(self.refusal(ty, interface, has_text)?)),
                    None => None,
                };
                Some(Answer::Case { index: 1, payload })
            }
            TypeDefKind::Enum(_) | TypeDefKind::Variant(_) => self.refusal(ty, interface, has_text),
            _ => None,
        }
    }

    /// The error of this type that says "you may not".
    fn refusal(&self, ty: &Type, interface: &str, has_text: bool) -> Option<Answer> {
        let Type::Id(id) = ty else {
            return match ty {
                Type::String => Some(Answer::Text(not_permitted(interface))),
                _ => self.value(ty, interface, has_text),
            };
        };
        let cases: Vec<(&str, Option<&Type>)> = match &self.resolve.types[*id].kind {
            TypeDefKind::Type(ty) => return self.refusal(ty, interface, has_text),
            TypeDefKind::Variant(variant) => {
                variant.cases.iter().map(|case| (case.name.as_str(), case.ty.as_ref())).collect()
            }
            TypeDefKind::Enum(cases) => {
                cases.cases.iter().map(|case| (case.name.as_str(), None)).collect()
            }
            _ => return self.value(ty, interface, has_text),
        };
        let names = REFUSALS.iter().chain(OTHERS);
        let named = names.filter_map(|name| cases.iter().position(|(case, _)| case == name));
        named.chain(0..cases.len()).find_map(|index| {
            let payload = match cases[index].1 {
                None => None,
                Some(Type::String) if cases[index].0 == "undefined" && has_text => {
                    Some(Box::new(Answer::Argument))
                }
                Some(ty) => Some(Box::new(self.refusal(ty, interface, has_text)?)),
            };
            Some(Answer::Case { index, payload })
        })
    }

    /// Puts an answer into memory: now what is known now, at the call what is not.
    fn store(&mut self, body: &mut String, key: &WorldKey, at: usize, ty: &Type, answer: &Answer) {
        let resolve = self.resolve;
        let kind = match ty {
            Type::Id(id) => Some(&resolve.types[*id].kind),
            _ => None,
        };
        if let Some(TypeDefKind::Type(ty)) = kind {
            return self.store(body, key, at, ty, answer);
        }
        match answer {
            Answer::Number(number) => {
                let size = self.sizes.size(ty).size_wasm32();
                let bytes = number.to_le_bytes();
                self.put(at, &bytes[..size.min(bytes.len())]);
            }
            Answer::Text(text) => {
                let place = FIRST_ADDRESS + self.data.len();
                self.data.extend_from_slice(text.as_bytes());
                self.put(at, &(place as u32).to_le_bytes());
                self.put(at + 4, &(text.len() as u32).to_le_bytes());
            }
            Answer::Argument => {
                let _ = writeln!(body, "  (i32.store (i32.const {at}) (local.get 0))");
                let _ = writeln!(body, "  (i32.store (i32.const {}) (local.get 1))", at + 4);
            }
            // An address that is aligned for anything, and no length.
            Answer::EmptyList => self.put(at, &8_u64.to_le_bytes()),
            Answer::Resource(resource) => {
                let value = self.new_resource(key, *resource);
                let _ = writeln!(body, "  (i32.store (i32.const {at}) {value})");
            }
            Answer::Fields(answers) => {
                let types: Vec<Type> = match kind {
                    Some(TypeDefKind::Record(record)) => {
                        record.fields.iter().map(|field| field.ty).collect()
                    }
                    Some(TypeDefKind::Tuple(tuple)) => tuple.types.clone(),
                    _ => Vec::new(),
                };
                let places: Vec<(usize, Type)> = self
                    .sizes
                    .field_offsets(&types)
                    .into_iter()
                    .map(|(offset, ty)| (at + offset.size_wasm32(), *ty))
                    .collect();
                for ((place, ty), answer) in places.into_iter().zip(answers) {
                    self.store(body, key, place, &ty, answer);
                }
            }
            Answer::Case { index, payload } => {
                let Some(kind) = kind else { return };
                let (tag, cases) = cases(kind);
                let bytes = (*index as u32).to_le_bytes();
                let width = match tag {
                    Int::U8 => 1,
                    Int::U16 => 2,
                    Int::U32 | Int::U64 => 4,
                };
                self.put(at, &bytes[..width]);
                if let (Some(payload), Some(Some(ty))) = (payload, cases.get(*index)) {
                    let types = cases.iter().map(Option::as_ref);
                    let offset = self.sizes.payload_offset(tag, types).size_wasm32();
                    self.store(body, key, at + offset, ty, payload);
                }
            }
        }
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let at = at - FIRST_ADDRESS;
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// An answer that fits into one core value.
    fn flat(&mut self, key: &WorldKey, ty: &Type, answer: &Answer) -> String {
        let mut storage = [WasmType::I32; 4];
        let mut flat = FlatTypes::new(&mut storage);
        self.resolve.push_flat(ty, &mut flat);
        let Some(core) = flat.to_vec().first().copied() else { return String::new() };
        match answer {
            Answer::Resource(resource) => format!("  {}", self.new_resource(key, *resource)),
            Answer::Number(number) => format!("  ({}.const {number})", core_type(core)),
            Answer::Case { index, .. } => format!("  ({}.const {index})", core_type(core)),
            Answer::Fields(answers) => match answers.first() {
                Some(Answer::Case { index, .. }) => {
                    format!("  ({}.const {index})", core_type(core))
                }
                _ => format!("  ({}.const 0)", core_type(core)),
            },
            Answer::Text(_) | Answer::Argument | Answer::EmptyList => "  unreachable".to_owned(),
        }
    }

    fn new_resource(&mut self, key: &WorldKey, resource: TypeId) -> String {
        let index = self.import(Some(key), resource, ResourceIntrinsic::ExportedNew);
        format!("(call $import{index} (i32.const 1))")
    }

    /// The index of an import, which is added if it is not there yet.
    fn import(
        &mut self,
        interface: Option<&WorldKey>,
        resource: TypeId,
        intrinsic: ResourceIntrinsic,
    ) -> usize {
        let import = WasmImport::ResourceIntrinsic { interface, resource, intrinsic };
        let import = self.resolve.wasm_import_name(ABI, import);
        if let Some(index) = self.imports.iter().position(|other| *other == import) {
            return index;
        }
        self.imports.push(import);
        self.imports.len() - 1
    }

    /// Lets go of handles that were given: what is borrowed has to be returned, and what is owned is in nobody's
    /// way any more.
    fn drop_arguments(&mut self, body: &mut String, function: &Function) {
        let mut local = 0;
        for param in &function.params {
            let (ty, is_optional) = match self.kind(&param.ty) {
                Some(TypeDefKind::Option(ty)) => (*ty, true),
                _ => (param.ty, false),
            };
            if let Some(TypeDefKind::Handle(Handle::Own(id) | Handle::Borrow(id))) = self.kind(&ty)
                && let Some((interface, resource)) = self.imported(*id)
            {
                let key = WorldKey::Interface(interface);
                let index = self.import(Some(&key), resource, ResourceIntrinsic::ImportedDrop);
                let handle = if is_optional { local + 1 } else { local };
                let call = format!("(call $import{index} (local.get {handle}))");
                let _ = if is_optional {
                    writeln!(body, "  (if (local.get {local}) (then {call}))")
                } else {
                    writeln!(body, "  {call}")
                };
            }
            let mut storage = [WasmType::I32; Resolve::MAX_FLAT_PARAMS];
            let mut flat = FlatTypes::new(&mut storage);
            self.resolve.push_flat(&param.ty, &mut flat);
            local += flat.to_vec().len();
        }
    }

    fn kind(&self, ty: &Type) -> Option<&'a TypeDefKind> {
        let resolve = self.resolve;
        let mut ty = ty;
        loop {
            let Type::Id(id) = ty else { return None };
            match &resolve.types[*id].kind {
                TypeDefKind::Type(inner) => ty = inner,
                kind => return Some(kind),
            }
        }
    }

    /// The resource behind an alias and its interface, if it is imported.
    fn imported(&self, mut id: TypeId) -> Option<(InterfaceId, TypeId)> {
        while let TypeDefKind::Type(Type::Id(inner)) = &self.resolve.types[id].kind {
            id = *inner;
        }
        let TypeOwner::Interface(interface) = self.resolve.types[id].owner else { return None };
        let exports = &self.resolve.worlds[self.world].exports;
        (!exports.contains_key(&WorldKey::Interface(interface))).then_some((interface, id))
    }
}

/// The cases of what has some, and the width of the number that tells which.
fn cases(kind: &TypeDefKind) -> (Int, Vec<Option<Type>>) {
    match kind {
        TypeDefKind::Variant(variant) => {
            (variant.tag(), variant.cases.iter().map(|case| case.ty).collect())
        }
        TypeDefKind::Enum(cases) => (cases.tag(), vec![None; cases.cases.len()]),
        TypeDefKind::Option(ty) => (Int::U8, vec![None, Some(*ty)]),
        TypeDefKind::Result(result) => (Int::U8, vec![result.ok, result.err]),
        _ => (Int::U8, Vec::new()),
    }
}

pub(super) fn core_type(ty: WasmType) -> &'static str {
    match ty {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}

fn not_permitted(interface: &str) -> String {
    format!("{interface:?} is not permitted")
}
