// What a runtime has itself: a device (of wgpu-native, on the first adapter), kernels, files.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>

#include "player.hpp"

inline WGPUInstance instance() {
  static const WGPUInstance instance = wgpuCreateInstance(nullptr);
  return instance;
}

inline WGPUAdapter requestAdapter() {
  WGPUAdapter adapter = nullptr;
  WGPURequestAdapterCallbackInfo onAdapter = {};
  onAdapter.mode = WGPUCallbackMode_AllowProcessEvents;
  onAdapter.userdata1 = &adapter;
  onAdapter.callback = [](WGPURequestAdapterStatus, WGPUAdapter found, WGPUStringView message, void* adapter, void*) {
    std::fprintf(stderr, "%.*s", static_cast<int>(message.length), message.data);
    *static_cast<WGPUAdapter*>(adapter) = found;
  };
  wgpuInstanceRequestAdapter(instance(), nullptr, onAdapter);
  wgpuInstanceProcessEvents(instance());
  if (!adapter) std::exit(1);
  return adapter;
}

inline WGPUDevice requestDevice() {
  WGPUAdapter adapter = requestAdapter();
  WGPUDevice device = nullptr;
  WGPURequestDeviceCallbackInfo onDevice = {};
  onDevice.mode = WGPUCallbackMode_AllowProcessEvents;
  onDevice.userdata1 = &device;
  onDevice.callback = [](WGPURequestDeviceStatus, WGPUDevice found, WGPUStringView message, void* device, void*) {
    std::fprintf(stderr, "%.*s", static_cast<int>(message.length), message.data);
    *static_cast<WGPUDevice*>(device) = found;
  };
  WGPUDeviceDescriptor descriptor = {};
  descriptor.uncapturedErrorCallbackInfo.callback = [](const WGPUDevice*, WGPUErrorType, WGPUStringView message, void*,
                                                       void*) {
    std::fprintf(stderr, "%.*s\n", static_cast<int>(message.length), message.data);
    std::exit(1);
  };
  wgpuAdapterRequestDevice(adapter, &descriptor, onDevice);
  wgpuInstanceProcessEvents(instance());
  if (!device) std::exit(1);
  wgpuAdapterRelease(adapter);
  return device;
}

inline fallline::Bytes readFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A compute pipeline and what is bound to it.
class Kernel {
 public:
  Kernel(WGPUDevice device, const std::string& wgsl, const std::vector<WGPUBindGroupEntry>& entries) {
    WGPUShaderSourceWGSL source = {};
    source.chain.sType = WGPUSType_ShaderSourceWGSL;
    source.code = {wgsl.data(), wgsl.size()};
    WGPUShaderModuleDescriptor module = {};
    module.nextInChain = &source.chain;
    WGPUComputePipelineDescriptor descriptor = {};
    descriptor.compute.module = wgpuDeviceCreateShaderModule(device, &module);
    descriptor.compute.entryPoint = {"main", WGPU_STRLEN};
    pipeline = wgpuDeviceCreateComputePipeline(device, &descriptor);
    wgpuShaderModuleRelease(descriptor.compute.module);
    WGPUBindGroupDescriptor group = {};
    group.layout = wgpuComputePipelineGetBindGroupLayout(pipeline, 0);
    group.entryCount = entries.size();
    group.entries = entries.data();
    bindGroup = wgpuDeviceCreateBindGroup(device, &group);
    wgpuBindGroupLayoutRelease(group.layout);
  }
  Kernel(const Kernel&) = delete;
  ~Kernel() {
    wgpuBindGroupRelease(bindGroup);
    wgpuComputePipelineRelease(pipeline);
  }

  void record(WGPUCommandEncoder encoder, uint32_t workgroups) const {
    WGPUComputePassEncoder pass = wgpuCommandEncoderBeginComputePass(encoder, nullptr);
    wgpuComputePassEncoderSetPipeline(pass, pipeline);
    wgpuComputePassEncoderSetBindGroup(pass, 0, bindGroup, 0, nullptr);
    wgpuComputePassEncoderDispatchWorkgroups(pass, workgroups, 1, 1);
    wgpuComputePassEncoderEnd(pass);
    wgpuComputePassEncoderRelease(pass);
  }

 private:
  WGPUComputePipeline pipeline;
  WGPUBindGroup bindGroup;
};

inline void submit(WGPUDevice device, WGPUCommandEncoder encoder) {
  WGPUQueue queue = wgpuDeviceGetQueue(device);
  WGPUCommandBuffer commands = wgpuCommandEncoderFinish(encoder, nullptr);
  wgpuQueueSubmit(queue, 1, &commands);
  wgpuCommandBufferRelease(commands);
  wgpuCommandEncoderRelease(encoder);
  wgpuQueueRelease(queue);
}
