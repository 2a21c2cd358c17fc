// SPDX-License-Identifier: Apache-2.0
// Reads a Python tensor into a vivace::Tensor without linking torch.
//
// torch >= 2.10 publishes a table of C functions on its tensor class (DLPack 1.3's exchange API,
// `__dlpack_c_exchange_api__`); a borrowed view costs about 0.1 µs and takes no reference. Objects
// without it (numpy arrays) go through the `__dlpack__` capsule. The structures below are the facts
// of that binary interface, declared here so that no header has to be vendored.
#pragma once

#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>

#include "core/tensor.h"

namespace vivace::dlpack {

struct Device {
  std::int32_t type;
  std::int32_t id;
};

struct Element {
  std::uint8_t code;  // 0 int, 1 uint, 2 float, 4 bfloat
  std::uint8_t bits;
  std::uint16_t lanes;
};

struct View {  // DLTensor
  void* data;
  Device device;
  std::int32_t ndim;
  Element dtype;
  std::int64_t* shape;
  std::int64_t* strides;  // null: contiguous
  std::uint64_t byte_offset;
};

struct Managed {  // DLManagedTensor, the payload of a "dltensor" capsule
  View view;
  void* context;
  void (*deleter)(Managed*);
};

struct ApiHeader {
  std::uint32_t major;
  std::uint32_t minor;
  ApiHeader* previous;
};

struct Api {
  ApiHeader header;
  void* managed_tensor_allocator;
  void* managed_tensor_from_object;
  void* managed_tensor_to_object;
  int (*view_from_object)(void* object, View* out);  // borrowed, no synchronisation
  void* current_work_stream;
};

static_assert(sizeof(View) == 48 && offsetof(View, shape) == 24, "DLTensor layout");
static_assert(offsetof(Managed, deleter) == 56, "DLManagedTensor layout");
static_assert(offsetof(Api, view_from_object) == 40, "DLPackExchangeAPI layout");

inline DType element_type(Element e) {
  if (e.lanes == 1) {
    if (e.code == 2 && e.bits == 32) return DType::kFloat32;
    if (e.code == 2 && e.bits == 16) return DType::kFloat16;
    if (e.code == 4 && e.bits == 16) return DType::kBFloat16;
    if (e.code == 2 && e.bits == 64) return DType::kFloat64;
    if (e.code == 0 && e.bits == 64) return DType::kInt64;
    if (e.code == 0 && e.bits == 32) return DType::kInt32;
    if (e.code == 1 && e.bits == 8) return DType::kUInt8;
  }
  throw pybind11::type_error("unsupported element type of a tensor argument");
}

inline Tensor to_tensor(const View& view) {
  if (view.ndim > kMaxDims)
    throw pybind11::value_error("a tensor argument has too many dimensions");
  Tensor t{};
  t.data = static_cast<char*>(view.data) + view.byte_offset;
  t.ndim = view.ndim;
  t.dtype = element_type(view.dtype);
  std::int64_t stride = 1;
  for (int i = view.ndim - 1; i >= 0; --i) {
    t.shape[i] = view.shape[i];
    t.stride[i] = view.strides ? view.strides[i] : stride;
    stride *= view.shape[i];
  }
  return t;
}

// The table of the object's class, or null. Kept per class: an attribute look-up costs more than
// the whole call, and per thread, which needs no lock. Only torch's own tensor classes come here,
// so one entry is enough.
inline const Api* exchange_api(pybind11::handle object) {
  thread_local PyTypeObject* known_type = nullptr;
  thread_local const Api* known_api = nullptr;
  PyTypeObject* type = Py_TYPE(object.ptr());
  if (type == known_type) return known_api;
  const auto attribute = pybind11::reinterpret_steal<pybind11::object>(
      PyObject_GetAttrString(reinterpret_cast<PyObject*>(type), "__dlpack_c_exchange_api__"));
  if (!attribute) {
    PyErr_Clear();
    return nullptr;
  }
  const void* pointer = PyCapsule_GetPointer(attribute.ptr(), "dlpack_exchange_api");
  if (!pointer) {
    PyErr_Clear();
    return nullptr;
  }
  const ApiHeader* header = static_cast<const ApiHeader*>(pointer);
  while (header && header->major != 1) header = header->previous;
  known_type = type;
  known_api = reinterpret_cast<const Api*>(header);
  return known_api;
}

inline Tensor borrow(pybind11::handle object) {
  if (const Api* api = exchange_api(object)) {
    View view{};
    if (api->view_from_object(object.ptr(), &view) != 0) throw pybind11::error_already_set();
    return to_tensor(view);
  }
  // torch < 2.10 and numpy. The producer keeps the memory alive: the caller holds the object for
  // the call.
  pybind11::object capsule;
  if (pybind11::hasattr(object, "is_leaf")) {
    capsule = pybind11::module_::import("torch.utils.dlpack").attr("to_dlpack")(object);
  } else if (pybind11::hasattr(object, "__dlpack__")) {
    capsule = object.attr("__dlpack__")();
  } else {
    throw pybind11::type_error("expected a tensor, got " +
                               std::string(Py_TYPE(object.ptr())->tp_name));
  }
  auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(capsule.ptr(), "dltensor"));
  if (!managed) throw pybind11::error_already_set();
  return to_tensor(managed->view);
}

}  // namespace vivace::dlpack

namespace pybind11::detail {

template <>
struct type_caster<vivace::Tensor> {
  PYBIND11_TYPE_CASTER(vivace::Tensor, const_name("torch.Tensor"));
  bool load(handle source, bool) {
    value = vivace::dlpack::borrow(source);
    return true;
  }
};

template <>
struct type_caster<vivace::Stream> {
  PYBIND11_TYPE_CASTER(vivace::Stream, const_name("int"));
  bool load(handle source, bool) {
    const auto number = PyLong_AsUnsignedLongLong(source.ptr());
    if (PyErr_Occurred()) {
      PyErr_Clear();
      return false;
    }
    value.value = static_cast<std::uintptr_t>(number);
    return true;
  }
};

}  // namespace pybind11::detail
