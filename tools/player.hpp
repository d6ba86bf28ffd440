// Plays a plan of `fallline export` through webgpu.h: with Dawn, wgpu-native or Emscripten, in C++20. tools/player.mjs is
// the same in JavaScript; the format, and what a step brings, is described in docs/plan.md.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <webgpu/webgpu.h>

namespace fallline {

static_assert(std::endian::native == std::endian::little, "the bytes of a plan are little-endian");

using json = nlohmann::json;
using Bytes = std::vector<uint8_t>;

/// What a step brings besides its gradients.
struct Step {
  /// The learning rate of a group of the plan.
  std::function<float(const json& group)> lr = [](const json& group) { return group.at("lr").get<float>(); };
  uint32_t accumulated = 1;
  bool zeroGrads = false;
  /// The names of tensors that have no gradient in this step.
  std::vector<std::string> withoutGrad;
  /// Those that change, by name.
  std::map<std::string, float> hyperparameters;
};

/// The optimizer of a plan.
class Player {
 public:
  json plan;

  /// Creates all that the plan says; `read` gives the bytes of a file of it, by name. What is wrong with the plan is thrown
  /// as `std::runtime_error` or `json::exception`; what the device finds wrong goes to its own error handler.
  Player(WGPUInstance instance, WGPUDevice device, const std::function<Bytes(const std::string&)>& read)
      : Player(instance, device) {
    plan = json::parse(read("plan.json"));
    if (plan.at("format") != "fallline-plan" || plan.at("version") != 1)
      throw std::runtime_error("expected a fallline-plan of version 1, found " + plan["format"].dump() + " " +
                               plan["version"].dump());
    checkLimits();
    bin = read("plan.bin");
    for (const json& buffer : plan.at("buffers")) createBuffer(buffer);
    for (const json& kernel : plan.at("kernels")) createPipeline(kernel, read(kernel.at("wgsl")));
    for (const json& group : plan.at("bindGroups")) createBindGroup(group);
  }
  Player(const Player&) = delete;
  Player& operator=(const Player&) = delete;

  ~Player() {
    for (WGPUBindGroup group : bindGroups) wgpuBindGroupRelease(group);
    for (WGPUComputePipeline pipeline : pipelines) wgpuComputePipelineRelease(pipeline);
    for (WGPUBindGroupLayout layout : layouts) wgpuBindGroupLayoutRelease(layout);
    for (WGPUBuffer buffer : buffers) wgpuBufferRelease(buffer);
    wgpuQueueRelease(queue);
  }

  /// The tensor of a name: where its `param`, its `grad` and each slot of its `state` lies.
  const json& tensor(const std::string& name) const {
    for (const json& tensor : plan.at("tensors"))
      if (tensor.at("name") == name) return tensor;
    throw std::runtime_error("the plan has no tensor '" + name + "'");
  }

  /// A range of the plan, such as `tensor("weight")["grad"]`, for a bind group of yours.
  WGPUBindGroupEntry resource(const json& range, uint32_t binding) const {
    WGPUBindGroupEntry entry = {};
    entry.binding = binding;
    entry.buffer = buffers.at(range.at("buffer"));
    entry.offset = range.at("offset");
    entry.size = range.at("size");
    return entry;
  }

  /// Writes a range: `data` is in the range's format, of whole words.
  void write(const json& range, const void* data, size_t size) {
    wgpuQueueWriteBuffer(queue, buffers.at(range.at("buffer")), range.at("offset"), data, size);
  }

  /// Reads a range back.
  Bytes read(const json& range) {
    const uint64_t size = range.at("size");
    WGPUBufferDescriptor descriptor = {};
    descriptor.size = (size + 3) / 4 * 4;
    descriptor.usage = WGPUBufferUsage_MapRead | WGPUBufferUsage_CopyDst;
    WGPUBuffer staging = wgpuDeviceCreateBuffer(device, &descriptor);
    WGPUCommandEncoder encoder = wgpuDeviceCreateCommandEncoder(device, nullptr);
    wgpuCommandEncoderCopyBufferToBuffer(encoder, buffers.at(range.at("buffer")), range.at("offset"), staging, 0,
                                         descriptor.size);
    WGPUCommandBuffer commands = wgpuCommandEncoderFinish(encoder, nullptr);
    wgpuQueueSubmit(queue, 1, &commands);
    wgpuCommandBufferRelease(commands);
    wgpuCommandEncoderRelease(encoder);

    WGPUMapAsyncStatus mapped = {};
    WGPUBufferMapCallbackInfo callback = {};
    callback.mode = WGPUCallbackMode_AllowProcessEvents;
    callback.userdata1 = &mapped;
    callback.callback = [](WGPUMapAsyncStatus status, WGPUStringView, void* mapped, void*) {
      *static_cast<WGPUMapAsyncStatus*>(mapped) = status;
    };
    wgpuBufferMapAsync(staging, WGPUMapMode_Read, 0, descriptor.size, callback);
    while (mapped == WGPUMapAsyncStatus{}) wgpuInstanceProcessEvents(instance);
    Bytes bytes;
    if (mapped == WGPUMapAsyncStatus_Success) {
      auto first = static_cast<const uint8_t*>(wgpuBufferGetConstMappedRange(staging, 0, descriptor.size));
      bytes.assign(first, first + size);
    }
    wgpuBufferRelease(staging);
    if (bytes.size() != size) throw std::runtime_error("a buffer could not be read");
    return bytes;
  }

  /// Records a step into the encoder. Submit it before `stepInput.entries` more are recorded.
  void step(WGPUCommandEncoder encoder, const Step& brings = {}) {
    const json& input = plan.at("stepInput");
    Bytes bytes = contents(input.at("bytes"));
    const auto put = [&](size_t offset, auto value) { std::memcpy(&bytes.at(offset), &value, sizeof value); };
    put(input.at("gradFactor"), 1.0f / static_cast<float>(brings.accumulated));
    put(input.at("zeroGrads"), uint32_t{brings.zeroGrads});
    for (const json& tensor : plan.at("tensors"))
      put(input.at("rates").get<size_t>() + 4 * tensor.at("number").get<size_t>(),
          brings.lr(plan.at("groups").at(tensor.at("group").get<size_t>())));
    for (const std::string& name : brings.withoutGrad) {
      const size_t number = tensor(name).at("number");
      bytes.at(input.at("withoutGrad").get<size_t>() + number / 8) |= 1 << number % 8;
    }
    for (const json& group : plan.at("groups"))
      for (const json& hyperparameter : group.at("hyperparameters"))
        if (auto changed = brings.hyperparameters.find(hyperparameter.at("name")); changed != brings.hyperparameters.end())
          put(hyperparameter.at("offset"), changed->second);
    const uint32_t entry = steps++ % input.at("entries").get<uint32_t>() * input.at("entrySize").get<uint32_t>();
    wgpuQueueWriteBuffer(queue, buffers.at(input.at("buffer")), entry, bytes.data(), bytes.size());

    WGPUComputePassEncoder pass = wgpuCommandEncoderBeginComputePass(encoder, nullptr);
    for (const json& dispatch : plan.at("pass")) {
      std::vector<uint32_t> offsets;
      for (const json& moved : dispatch.at("dynamicOffsets"))
        offsets.push_back(moved.at("offset").get<uint32_t>() + (moved.at("inEntry").get<bool>() ? entry : 0));
      wgpuComputePassEncoderSetPipeline(pass, pipelines.at(dispatch.at("kernel")));
      wgpuComputePassEncoderSetBindGroup(pass, 0, bindGroups.at(dispatch.at("bindGroup")), offsets.size(),
                                         offsets.data());
      const auto [x, y, z] = dispatch.at("workgroups").get<std::array<uint32_t, 3>>();
      wgpuComputePassEncoderDispatchWorkgroups(pass, x, y, z);
    }
    wgpuComputePassEncoderEnd(pass);
    wgpuComputePassEncoderRelease(pass);
  }

 private:
  /// With this done, the destructor runs if the rest of the construction throws.
  Player(WGPUInstance instance, WGPUDevice device)
      : instance(instance), device(device), queue(wgpuDeviceGetQueue(device)) {}

  WGPUInstance instance;
  WGPUDevice device;
  WGPUQueue queue;
  Bytes bin;
  std::vector<WGPUBuffer> buffers;
  std::vector<WGPUBindGroupLayout> layouts;
  std::vector<WGPUComputePipeline> pipelines;
  std::vector<WGPUBindGroup> bindGroups;
  uint64_t steps = 0;

  static WGPUStringView view(const std::string& text) { return {text.data(), text.size()}; }

  Bytes contents(const json& bytes) const {
    const auto first = bin.begin() + bytes.at("at").get<ptrdiff_t>();
    return Bytes(first, first + bytes.at("size").get<ptrdiff_t>());
  }

  void checkLimits() const {
    WGPULimits found = {};
    wgpuDeviceGetLimits(device, &found);
    const std::map<std::string, uint64_t> limits = {
        {"maxBufferSize", found.maxBufferSize},
        {"maxStorageBufferBindingSize", found.maxStorageBufferBindingSize},
    };
    for (const auto& [limit, expected] : plan.at("requiredLimits").items())
      if (!limits.contains(limit) || limits.at(limit) < expected.get<uint64_t>())
        throw std::runtime_error("the plan needs " + limit + " " + expected.dump());
  }

  void createBuffer(const json& buffer) {
    const std::string label = "fallline " + buffer.at("role").get<std::string>();
    WGPUBufferDescriptor descriptor = {};
    descriptor.label = view(label);
    descriptor.size = buffer.at("size");
    descriptor.usage = buffer.at("usage");
    buffers.push_back(wgpuDeviceCreateBuffer(device, &descriptor));
    if (const json& begin = buffer.at("contents"); !begin.is_null()) {
      const Bytes bytes = contents(begin.at("bytes"));
      wgpuQueueWriteBuffer(queue, buffers.back(), begin.at("offset"), bytes.data(), bytes.size());
    }
  }

  void createPipeline(const json& kernel, const Bytes& wgsl) {
    const std::string label = kernel.at("label");
    static const std::map<std::string, WGPUBufferBindingType> types = {
        {"uniform", WGPUBufferBindingType_Uniform},
        {"storage", WGPUBufferBindingType_Storage},
        {"read-only-storage", WGPUBufferBindingType_ReadOnlyStorage},
    };
    std::vector<WGPUBindGroupLayoutEntry> entries;
    for (const json& buffer : kernel.at("bindings")) {
      WGPUBindGroupLayoutEntry entry = {};
      entry.binding = entries.size();
      entry.visibility = WGPUShaderStage_Compute;
      entry.buffer.type = types.at(buffer.at("type"));
      entry.buffer.hasDynamicOffset = buffer.at("hasDynamicOffset").get<bool>();
      entries.push_back(entry);
    }
    WGPUBindGroupLayoutDescriptor bindings = {};
    bindings.label = view(label);
    bindings.entryCount = entries.size();
    bindings.entries = entries.data();
    layouts.push_back(wgpuDeviceCreateBindGroupLayout(device, &bindings));
    WGPUPipelineLayoutDescriptor layout = {};
    layout.label = view(label);
    layout.bindGroupLayoutCount = 1;
    layout.bindGroupLayouts = &layouts.back();

    WGPUShaderSourceWGSL source = {};
    source.chain.sType = WGPUSType_ShaderSourceWGSL;
    source.code = {reinterpret_cast<const char*>(wgsl.data()), wgsl.size()};
    WGPUShaderModuleDescriptor module = {};
    module.nextInChain = &source.chain;
    module.label = view(label);

    const auto named = kernel.at("constants").get<std::map<std::string, double>>();
    std::vector<WGPUConstantEntry> constants;
    for (const auto& [name, value] : named) constants.push_back({nullptr, view(name), value});
    WGPUComputePipelineDescriptor descriptor = {};
    descriptor.label = view(label);
    descriptor.layout = wgpuDeviceCreatePipelineLayout(device, &layout);
    descriptor.compute.module = wgpuDeviceCreateShaderModule(device, &module);
    descriptor.compute.entryPoint = {"main", WGPU_STRLEN};
    descriptor.compute.constantCount = constants.size();
    descriptor.compute.constants = constants.data();
    pipelines.push_back(wgpuDeviceCreateComputePipeline(device, &descriptor));
    wgpuShaderModuleRelease(descriptor.compute.module);
    wgpuPipelineLayoutRelease(descriptor.layout);
  }

  void createBindGroup(const json& group) {
    std::vector<WGPUBindGroupEntry> entries;
    for (const json& range : group.at("entries")) entries.push_back(resource(range, entries.size()));
    WGPUBindGroupDescriptor descriptor = {};
    descriptor.layout = layouts.at(group.at("kernel"));
    descriptor.entryCount = entries.size();
    descriptor.entries = entries.data();
    bindGroups.push_back(wgpuDeviceCreateBindGroup(device, &descriptor));
  }
};

}  // namespace fallline
