/* What a tenant holds of what it may hold: taken at admission, given back at the end, once. */
#include "scheduler/core/state.h"

enum refusal quota_refuses(const struct tenant *tenant, uint32_t vcpus, uint64_t mem_mib)
{
	const struct core_tenant *caps = &tenant->row;

	/* Caps may have been lowered below what is held, so never subtract from them. */
	if (tenant->concurrent >= caps->concurrent_max)
		return REFUSAL_QUOTA_CONCURRENCY;
	if (tenant->vcpus + vcpus > caps->vcpus_max && caps->vcpus_max != UINT32_MAX)
		return REFUSAL_QUOTA_VCPUS;
	if (tenant->mem_mib + mem_mib > caps->mem_mib_max)
		return REFUSAL_QUOTA_MEMORY;
	return REFUSAL_NONE;
}

void quota_take(struct tenant *tenant, const struct core_sandbox *row)
{
	tenant->concurrent++;
	tenant->vcpus += row->vcpus;
	tenant->mem_mib += row->mem_mib;
}

void quota_give(struct tenant *tenant, const struct core_sandbox *row)
{
	CHECK(tenant->concurrent > 0);
	CHECK(tenant->vcpus >= row->vcpus);
	CHECK(tenant->mem_mib >= row->mem_mib);
	tenant->concurrent--;
	tenant->vcpus -= row->vcpus;
	tenant->mem_mib -= row->mem_mib;
}
