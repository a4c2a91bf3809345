-- Requests from a file where REQUESTS names one, each ended by a zero byte; the summary as JSON.
local requests, index = {}, 0

function init(args)
   local name = os.getenv("REQUESTS")
   if name then
      local file = assert(io.open(name, "rb"))
      for one in file:read("*a"):gmatch("([^%z]+)%z") do
         requests[#requests + 1] = one
      end
      file:close()
      request = function()
         index = index % #requests + 1
         return requests[index]
      end
   end
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      '\nJSON{"requests": %d, "bytes": %d, "seconds": %f, "errors": %d, "p50_us": %d, "p99_us": %d}\n',
      summary.requests, summary.bytes, summary.duration / 1e6,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
