#include "recon_engine/stores.hpp"

#include <curl/curl.h>
#include <nlohmann/json.hpp>

namespace recon_engine {

using epochcut::Control;
using epochcut::Failure;
using epochcut::Millis;
using epochcut::Reason;
using Json = nlohmann::json;

namespace {

Failure malformed(const std::string& why) { return Failure(Reason::schema, "the custodian's answer is not what it documents: " + why).at("custodian"); }

Json parse(std::string_view text) {
  // A key that stands there twice would hide the first one.
  std::vector<std::vector<std::string>> keys;
  const auto unique = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const std::string key = parsed.get<std::string>();
      if (std::find(keys.back().begin(), keys.back().end(), key) != keys.back().end()) throw malformed("the key \"" + key + "\" stands there twice");
      keys.back().push_back(key);
    }
    return true;
  };
  try {
    Json json = Json::parse(text, unique);
    if (!json.is_object()) throw malformed("it is no object");
    return json;
  } catch (const Json::exception&) {
    throw malformed("it is no JSON");
  }
}

const Json& member(const Json& object, const char* name) {
  if (!object.is_object() || !object.contains(name)) throw malformed("there is no \"" + std::string(name) + "\"");
  return object.at(name);
}

}  // namespace

std::vector<Holding> parse_holdings(std::string_view text) {
  const Json json = parse(text);
  const Json& list = member(json, "holdings");
  if (!list.is_array()) throw malformed("\"holdings\" is no list");
  std::vector<Holding> holdings;
  for (const Json& each : list) {
    const Json &currency = member(each, "currency"), &amount = member(each, "amount");
    // A number would have gone through a double on its way.
    if (!currency.is_string() || !amount.is_string()) throw malformed("a currency and an amount are texts");
    const auto decimal = epochcut::parse_decimal(amount.get_ref<const std::string&>());
    if (!decimal || currency.get_ref<const std::string&>().empty()) throw malformed("\"" + amount.get<std::string>() + "\" is no amount");
    for (const Holding& other : holdings)
      if (other.currency == currency.get_ref<const std::string&>()) throw malformed("it lists " + other.currency + " twice");
    holdings.push_back({currency.get<std::string>(), *decimal});
  }
  return holdings;
}

epochcut::InFlight parse_transfers(std::string_view text) {
  const Json json = parse(text);
  const Json &open = member(json, "open"), &counter = member(json, "counter");
  if (!open.is_array() || !counter.is_number_unsigned()) throw malformed("\"open\" is a list and \"counter\" a number");
  return {open.size(), counter.get<std::uint64_t>()};
}

HttpCustodian::HttpCustodian(std::string url) : url_(std::move(url)), curl_(curl_easy_init()) {
  while (!url_.empty() && url_.back() == '/') url_.pop_back();
  if (!url_.starts_with("http://") && !url_.starts_with("https://"))
    throw Failure(Reason::configuration, "the custodian's URL begins with http:// or https://");
}
HttpCustodian::~HttpCustodian() { curl_easy_cleanup(static_cast<CURL*>(curl_)); }

std::string HttpCustodian::get(const std::string& path, const Control& control) {
  struct Transfer {
    std::string body;
    const Control* control;
    bool too_large = false;
  } transfer{{}, &control};
  control.check();
  CURL* const curl = static_cast<CURL*>(curl_);
  curl_easy_reset(curl);
  const std::string url = url_ + path;
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_PROXY, "");
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<Millis::rep>(1, control.remaining(custodian_timeout).count())));
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(
      curl, CURLOPT_WRITEFUNCTION, +[](char* data, std::size_t, std::size_t size, void* to) -> std::size_t {
        Transfer& t = *static_cast<Transfer*>(to);
        if ((t.too_large = t.body.size() + size > custodian_bytes_max)) return 0;
        t.body.append(data, size);
        return size;
      });
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &transfer);
  curl_easy_setopt(
      curl, CURLOPT_XFERINFOFUNCTION, +[](void* from, curl_off_t, curl_off_t, curl_off_t, curl_off_t) -> int {
        const Control& c = *static_cast<Transfer*>(from)->control;
        return c.cancel != nullptr && c.cancel->requested() ? 1 : 0;
      });
  const CURLcode code = curl_easy_perform(curl);
  control.check();
  if (transfer.too_large)
    throw Failure(Reason::too_large, "the custodian's answer is larger than " + std::to_string(custodian_bytes_max) + " bytes").at("custodian");
  // A body that is cut off is an error of the transfer: curl holds it against Content-Length or the last chunk.
  if (code != CURLE_OK) throw Failure(Reason::connection, "the custodian does not answer: " + std::string(curl_easy_strerror(code))).retry().at("custodian");
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) {
    Failure failure(Reason::connection, "the custodian answered GET " + path + " with status " + std::to_string(status));
    failure.retryable = status >= 500 || status == 429;
    throw std::move(failure).at("custodian");
  }
  // As of an answer that breaks off in its headers, which curl does not hold against it.
  if (transfer.body.empty()) throw Failure(Reason::connection, "the custodian answered GET " + path + " with nothing").retry().at("custodian");
  return transfer.body;
}

epochcut::InFlight HttpCustodian::sample(const Control& control) { return parse_transfers(get("/transfers", control)); }

std::vector<Holding> HttpCustodian::holdings(const Control& control) {
  std::vector<Holding> holdings = parse_holdings(get("/holdings", control));
  if (holdings.empty() && *sample(control).counter > 0)
    throw Failure(Reason::incomplete, "the custodian lists no holding, though transfers have begun; nothing held is not nothing said").retry().at("custodian");
  return holdings;
}

}  // namespace recon_engine
