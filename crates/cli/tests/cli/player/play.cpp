// play CASE...: plays what the engine has recorded on this driver, and compares every buffer. play.mjs in C++.
#include <filesystem>

#include "device.hpp"

using fallline::Bytes;
using fallline::json;

int differing = 0;

void play(const std::string& folder) {
  const std::string name = std::filesystem::path(folder).filename();
  WGPUDevice device = requestDevice();
  const auto file = [&](const std::string& name) { return readFile(folder + "/plan/" + name); };
  fallline::Player optimizer(instance(), device, file);
  const json run = json::parse(readFile(folder + "/run.json"));
  const Bytes bin = readFile(folder + "/run.bin");
  const auto bytes = [&](const json& of) { return bin.data() + of["at"].get<size_t>(); };
  for (const json& of : run["start"]) optimizer.write(of, bytes(of), of["size"]);
  for (const json& brings : run["steps"]) {
    for (const json& of : brings["grads"]) optimizer.write(optimizer.tensor(of["tensor"])["grad"], bytes(of), of["size"]);
    fallline::Step step;
    const double factor = brings["factor"];
    step.lr = [&](const json& group) { return static_cast<float>(group["lr"].get<double>() * factor); };
    step.accumulated = brings.value("accumulated", 1u);
    step.zeroGrads = brings.value("zeroGrads", false);
    step.withoutGrad = brings.value("withoutGrad", std::vector<std::string>());
    step.hyperparameters = brings.value("hyperparameters", std::map<std::string, float>());
    WGPUCommandEncoder encoder = wgpuDeviceCreateCommandEncoder(device, nullptr);
    optimizer.step(encoder, step);
    submit(device, encoder);
  }
  size_t words = 0;
  for (const json& of : run["end"]) {
    const json& buffer = optimizer.plan["buffers"][of["buffer"].get<size_t>()];
    Bytes expected(buffer["size"].get<size_t>());
    std::memcpy(expected.data() + of["offset"].get<size_t>(), bytes(of), of["size"]);
    const Bytes found = optimizer.read({{"buffer", of["buffer"]}, {"offset", 0}, {"size", buffer["size"]}});
    if (found != expected) {
      const auto differs = std::mismatch(found.begin(), found.end(), expected.begin()).first - found.begin();
      std::printf("%s: buffer %s, %s, differs from word %td on\n", name.c_str(), of["buffer"].dump().c_str(),
                  buffer["role"].dump().c_str(), differs / 4);
      differing++;
    }
    words += found.size() / 4;
  }
  std::printf("%s: %zu steps, %zu buffers, %zu words\n", name.c_str(), run["steps"].size(), run["end"].size(), words);
}

/// As play.mjs says it.
void sayAdapter() {
  WGPUAdapterInfo info = {};
  wgpuAdapterGetInfo(requestAdapter(), &info);
  std::printf("adapter: %.*s, %.*s\n", static_cast<int>(info.device.length), info.device.data,
              static_cast<int>(info.description.length), info.description.data);
}

int main(int count, char** folders) {
  sayAdapter();
  for (int i = 1; i < count; i++) play(folders[i]);
  return differing ? 1 : 0;
}
